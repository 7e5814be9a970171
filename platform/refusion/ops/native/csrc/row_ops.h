// What is done with one row of pixels, channels last: x[pixel * channels + channel]. Channels are multiples of LANES.
// Matrices are laid out so that the channels of the result are neighbours: matrix[input * outputs + output].

// Vectors of results that a block of a product keeps in registers; elsewhere a vector takes two of these or more.
#ifdef __AVX512F__
constexpr int HELD = 24;
#else
constexpr int HELD = 8;
#endif

// A block of `PIXELS` by `WIDE` vectors of outputs: out (+)= x · matrix. Pixels of x and of out are so far apart.
template <int PIXELS, int WIDE>
ALWAYS void mix_block(const float* x, int x_apart, const float* matrix, float* out, int out_apart, int inputs,
                      int outputs, bool add) {
  Vec sums[PIXELS][WIDE];
#pragma GCC unroll 24
  for (int p = 0; p < PIXELS; p++)
#pragma GCC unroll 4
    for (int v = 0; v < WIDE; v++) sums[p][v] = add ? load(out + p * out_apart + v * LANES) : Vec{};
  for (int i = 0; i < inputs; i++) {
    Vec row[WIDE];
#pragma GCC unroll 4
    for (int v = 0; v < WIDE; v++) row[v] = load(matrix + i * outputs + v * LANES);
#pragma GCC unroll 24
    for (int p = 0; p < PIXELS; p++) {
      const Vec here = all(x[p * x_apart + i]);
#pragma GCC unroll 4
      for (int v = 0; v < WIDE; v++) sums[p][v] += here * row[v];
    }
  }
#pragma GCC unroll 24
  for (int p = 0; p < PIXELS; p++)
#pragma GCC unroll 4
    for (int v = 0; v < WIDE; v++) store(out + p * out_apart + v * LANES, sums[p][v]);
}

template <int WIDE>
ALWAYS void mix_columns(const float* x, int x_apart, const float* matrix, float* out, int out_apart, int pixels,
                        int inputs, int outputs, bool add) {
  constexpr int BLOCK = HELD / WIDE;
  int p = 0;
  for (; p + BLOCK <= pixels; p += BLOCK)
    mix_block<BLOCK, WIDE>(x + p * x_apart, x_apart, matrix, out + p * out_apart, out_apart, inputs, outputs, add);
  for (; p < pixels; p++)
    mix_block<1, WIDE>(x + p * x_apart, x_apart, matrix, out + p * out_apart, out_apart, inputs, outputs, add);
}

// out[pixels][outputs] (+)= x[pixels][inputs] · matrix[inputs][outputs]
static void mix_apart(const float* x, int x_apart, const float* matrix, float* out, int out_apart, int pixels,
                      int inputs, int outputs, bool add) {
  int first = 0;
  for (; first + 4 * LANES <= outputs; first += 4 * LANES)
    mix_columns<4>(x, x_apart, matrix + first, out + first, out_apart, pixels, inputs, outputs, add);
  for (; first + 2 * LANES <= outputs; first += 2 * LANES)
    mix_columns<2>(x, x_apart, matrix + first, out + first, out_apart, pixels, inputs, outputs, add);
  for (; first < outputs; first += LANES)
    mix_columns<1>(x, x_apart, matrix + first, out + first, out_apart, pixels, inputs, outputs, add);
}

// The same of pixels that are neighbours.
static void mix(const float* x, const float* matrix, float* out, int pixels, int inputs, int outputs, bool add) {
  mix_apart(x, inputs, matrix, out, outputs, pixels, inputs, outputs, add);
}

// Eight inputs by `WIDE` vectors of outputs of: matrix[input][output] += sum over pixels of x[input] · slope[output]
template <int WIDE>
ALWAYS void slope_block(const float* x, int x_apart, const float* slope, int slope_apart, float* matrix, int pixels,
                        int outputs) {
  constexpr int INPUTS = 8;
  Vec sums[INPUTS][WIDE] = {};
  for (int p = 0; p < pixels; p++) {
    Vec here[WIDE];
#pragma GCC unroll 2
    for (int v = 0; v < WIDE; v++) here[v] = load(slope + p * slope_apart + v * LANES);
#pragma GCC unroll 8
    for (int i = 0; i < INPUTS; i++) {
      const Vec one = all(x[p * x_apart + i]);
#pragma GCC unroll 2
      for (int v = 0; v < WIDE; v++) sums[i][v] += one * here[v];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < INPUTS; i++)
#pragma GCC unroll 2
    for (int v = 0; v < WIDE; v++) {
      float* place = matrix + i * outputs + v * LANES;
      store(place, load(place) + sums[i][v]);
    }
}

// The slope in the matrix of `mix`, added up.
static void add_products(const float* x, int x_apart, const float* slope, int slope_apart, float* matrix, int pixels,
                         int inputs, int outputs) {
  for (int i = 0; i < inputs; i += 8) {
    float* row = matrix + i * outputs;
    int first = 0;
    for (; first + 2 * LANES <= outputs; first += 2 * LANES)
      slope_block<2>(x + i, x_apart, slope + first, slope_apart, row + first, pixels, outputs);
    if (first < outputs) slope_block<1>(x + i, x_apart, slope + first, slope_apart, row + first, pixels, outputs);
  }
}

static void add_slope_of_mix(const float* x, const float* slope, float* matrix, int pixels, int inputs, int outputs) {
  add_products(x, inputs, slope, outputs, matrix, pixels, inputs, outputs);
}

struct ThreeRows {
  const float *above, *here, *below;
};

// A channel's 3×3 neighbourhood of a few pixels of a row: what lies beyond the row's ends is zero.
template <int PIXELS>
ALWAYS void columns(const float* row, Vec (&found)[PIXELS + 2], int channels, bool first, bool last) {
  found[0] = first ? Vec{} : load(row - channels);
#pragma GCC unroll 8
  for (int p = 0; p < PIXELS; p++) found[p + 1] = load(row + p * channels);
  found[PIXELS + 1] = last ? Vec{} : load(row + PIXELS * channels);
}

template <int PIXELS>
ALWAYS void filter_block(ThreeRows x, const float* kernels, float* out, int channels, bool first, bool last, bool add) {
  for (int c = 0; c < channels; c += LANES) {
    Vec sums[PIXELS];
#pragma GCC unroll 8
    for (int p = 0; p < PIXELS; p++) sums[p] = add ? load(out + p * channels + c) : Vec{};
    const float* rows[3] = {x.above + c, x.here + c, x.below + c};
#pragma GCC unroll 3
    for (int row = 0; row < 3; row++) {
      Vec around[PIXELS + 2];
      columns<PIXELS>(rows[row], around, channels, first, last);
#pragma GCC unroll 3
      for (int tap = 0; tap < 3; tap++) {
        const Vec kernel = load(kernels + (3 * row + tap) * channels + c);
#pragma GCC unroll 8
        for (int p = 0; p < PIXELS; p++) sums[p] += kernel * around[p + tap];
      }
    }
#pragma GCC unroll 8
    for (int p = 0; p < PIXELS; p++) store(out + p * channels + c, sums[p]);
  }
}

template <int PIXELS>
ALWAYS void slope_of_filter_block(ThreeRows x, const float* slope, float* kernels, int channels, bool first,
                                  bool last) {
  for (int c = 0; c < channels; c += LANES) {
    Vec here[PIXELS];
#pragma GCC unroll 8
    for (int p = 0; p < PIXELS; p++) here[p] = load(slope + p * channels + c);
    const float* rows[3] = {x.above + c, x.here + c, x.below + c};
#pragma GCC unroll 3
    for (int row = 0; row < 3; row++) {
      Vec around[PIXELS + 2];
      columns<PIXELS>(rows[row], around, channels, first, last);
#pragma GCC unroll 3
      for (int tap = 0; tap < 3; tap++) {
        float* place = kernels + (3 * row + tap) * channels + c;
        Vec sum = load(place);
#pragma GCC unroll 8
        for (int p = 0; p < PIXELS; p++) sum += here[p] * around[p + tap];
        store(place, sum);
      }
    }
  }
}

ALWAYS ThreeRows moved(ThreeRows x, int by) { return {x.above + by, x.here + by, x.below + by}; }

// Pixels of a row that are filtered together: neighbours share what is loaded.
constexpr int TOGETHER = 6;

// out (+)= each channel filtered with its own 3×3 kernel, kernels[tap][channel].
static void filter(ThreeRows x, const float* kernels, float* out, int pixels, int channels, bool add) {
  int p = 0;
  for (; p + TOGETHER <= pixels; p += TOGETHER)
    filter_block<TOGETHER>(moved(x, p * channels), kernels, out + p * channels, channels, p == 0,
                           p + TOGETHER == pixels, add);
  for (; p < pixels; p++)
    filter_block<1>(moved(x, p * channels), kernels, out + p * channels, channels, p == 0, p + 1 == pixels, add);
}

// The slope in the kernels of `filter`, added up over the row.
static void add_slope_of_filter(ThreeRows x, const float* slope, float* kernels, int pixels, int channels) {
  int p = 0;
  for (; p + TOGETHER <= pixels; p += TOGETHER)
    slope_of_filter_block<TOGETHER>(moved(x, p * channels), slope + p * channels, kernels, channels, p == 0,
                                    p + TOGETHER == pixels);
  for (; p < pixels; p++)
    slope_of_filter_block<1>(moved(x, p * channels), slope + p * channels, kernels, channels, p == 0, p + 1 == pixels);
}

static void add_to(float* out, const float* x, int count) {
  for (int i = 0; i < count; i += LANES) store(out + i, load(out + i) + load(x + i));
}
