// Operations on one row of pixels, channels last: x[pixel * channels + channel]. Channels are multiples of LANES.
// Matrices are laid out so that the channels of the result are neighbours: matrix[input * outputs + output].

// Vectors of results that a block of a product keeps in registers; elsewhere a vector takes two of these or more.
#ifdef __AVX512F__
constexpr int HELD = 24;
#else
constexpr int HELD = 8;
#endif

// A block of `PIXELS` by `WIDE` vectors of outputs: out (+)= x · matrix. Strides are from pixel to pixel.
template <int PIXELS, int WIDE>
ALWAYS void pointwise_block(const float* x, int x_stride, const float* matrix, float* out, int out_stride, int inputs,
                            int outputs, bool add) {
  Vec sums[PIXELS][WIDE];
#pragma GCC unroll 24
  for (int p = 0; p < PIXELS; p++)
#pragma GCC unroll 4
    for (int v = 0; v < WIDE; v++) sums[p][v] = add ? load(out + p * out_stride + v * LANES) : Vec{};
  for (int i = 0; i < inputs; i++) {
    Vec row[WIDE];
#pragma GCC unroll 4
    for (int v = 0; v < WIDE; v++) row[v] = load(matrix + i * outputs + v * LANES);
#pragma GCC unroll 24
    for (int p = 0; p < PIXELS; p++) {
      const Vec here = all(x[p * x_stride + i]);
#pragma GCC unroll 4
      for (int v = 0; v < WIDE; v++) sums[p][v] += here * row[v];
    }
  }
#pragma GCC unroll 24
  for (int p = 0; p < PIXELS; p++)
#pragma GCC unroll 4
    for (int v = 0; v < WIDE; v++) store(out + p * out_stride + v * LANES, sums[p][v]);
}

template <int WIDE>
ALWAYS void pointwise_columns(const float* x, int x_stride, const float* matrix, float* out, int out_stride, int pixels,
                              int inputs, int outputs, bool add) {
  constexpr int BLOCK = HELD / WIDE;
  int p = 0;
  for (; p + BLOCK <= pixels; p += BLOCK)
    pointwise_block<BLOCK, WIDE>(x + p * x_stride, x_stride, matrix, out + p * out_stride, out_stride, inputs, outputs,
                                 add);
  for (; p < pixels; p++)
    pointwise_block<1, WIDE>(x + p * x_stride, x_stride, matrix, out + p * out_stride, out_stride, inputs, outputs,
                             add);
}

// out[pixels][outputs] (+)= x[pixels][inputs] · matrix[inputs][outputs]
static void pointwise_conv_strided(const float* x, int x_stride, const float* matrix, float* out, int out_stride,
                                   int pixels, int inputs, int outputs, bool add) {
  int first = 0;
  for (; first + 4 * LANES <= outputs; first += 4 * LANES)
    pointwise_columns<4>(x, x_stride, matrix + first, out + first, out_stride, pixels, inputs, outputs, add);
  for (; first + 2 * LANES <= outputs; first += 2 * LANES)
    pointwise_columns<2>(x, x_stride, matrix + first, out + first, out_stride, pixels, inputs, outputs, add);
  for (; first < outputs; first += LANES)
    pointwise_columns<1>(x, x_stride, matrix + first, out + first, out_stride, pixels, inputs, outputs, add);
}

// The same of pixels that are neighbours.
static void pointwise_conv(const float* x, const float* matrix, float* out, int pixels, int inputs, int outputs,
                           bool add) {
  pointwise_conv_strided(x, inputs, matrix, out, outputs, pixels, inputs, outputs, add);
}

// Eight inputs by `WIDE` vectors of outputs of: matrix[input][output] += sum over pixels of x[input] · grad[output]
template <int WIDE>
ALWAYS void gram_block(const float* x, int x_stride, const float* grad, int grad_stride, float* matrix, int pixels,
                       int outputs) {
  constexpr int INPUTS = 8;
  Vec sums[INPUTS][WIDE] = {};
  for (int p = 0; p < pixels; p++) {
    Vec here[WIDE];
#pragma GCC unroll 2
    for (int v = 0; v < WIDE; v++) here[v] = load(grad + p * grad_stride + v * LANES);
#pragma GCC unroll 8
    for (int i = 0; i < INPUTS; i++) {
      const Vec one = all(x[p * x_stride + i]);
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

// matrix += xᵀ · grad: the Gram matrix of their channels, which is the gradient in the matrix of `pointwise_conv`.
static void add_gram(const float* x, int x_stride, const float* grad, int grad_stride, float* matrix, int pixels,
                     int inputs, int outputs) {
  for (int i = 0; i < inputs; i += 8) {
    float* row = matrix + i * outputs;
    int first = 0;
    for (; first + 2 * LANES <= outputs; first += 2 * LANES)
      gram_block<2>(x + i, x_stride, grad + first, grad_stride, row + first, pixels, outputs);
    if (first < outputs) gram_block<1>(x + i, x_stride, grad + first, grad_stride, row + first, pixels, outputs);
  }
}

static void add_pointwise_weight_grad(const float* x, const float* grad, float* matrix, int pixels, int inputs,
                                      int outputs) {
  add_gram(x, inputs, grad, outputs, matrix, pixels, inputs, outputs);
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
ALWAYS void depthwise_block(ThreeRows x, const float* weights, float* out, int channels, bool first, bool last,
                            bool add) {
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
        const Vec weight = load(weights + (3 * row + tap) * channels + c);
#pragma GCC unroll 8
        for (int p = 0; p < PIXELS; p++) sums[p] += weight * around[p + tap];
      }
    }
#pragma GCC unroll 8
    for (int p = 0; p < PIXELS; p++) store(out + p * channels + c, sums[p]);
  }
}

template <int PIXELS>
ALWAYS void depthwise_weight_grad_block(ThreeRows x, const float* grad, float* weights, int channels, bool first,
                                        bool last) {
  for (int c = 0; c < channels; c += LANES) {
    Vec here[PIXELS];
#pragma GCC unroll 8
    for (int p = 0; p < PIXELS; p++) here[p] = load(grad + p * channels + c);
    const float* rows[3] = {x.above + c, x.here + c, x.below + c};
#pragma GCC unroll 3
    for (int row = 0; row < 3; row++) {
      Vec around[PIXELS + 2];
      columns<PIXELS>(rows[row], around, channels, first, last);
#pragma GCC unroll 3
      for (int tap = 0; tap < 3; tap++) {
        float* place = weights + (3 * row + tap) * channels + c;
        Vec sum = load(place);
#pragma GCC unroll 8
        for (int p = 0; p < PIXELS; p++) sum += here[p] * around[p + tap];
        store(place, sum);
      }
    }
  }
}

ALWAYS ThreeRows shifted(ThreeRows x, int by) { return {x.above + by, x.here + by, x.below + by}; }

// Pixels of a row that are convolved together: neighbours share what is loaded.
constexpr int TOGETHER = 6;

// out (+)= each channel convolved with its own 3×3 weights, weights[tap][channel].
static void depthwise_conv(ThreeRows x, const float* weights, float* out, int pixels, int channels, bool add) {
  int p = 0;
  for (; p + TOGETHER <= pixels; p += TOGETHER)
    depthwise_block<TOGETHER>(shifted(x, p * channels), weights, out + p * channels, channels, p == 0,
                              p + TOGETHER == pixels, add);
  for (; p < pixels; p++)
    depthwise_block<1>(shifted(x, p * channels), weights, out + p * channels, channels, p == 0, p + 1 == pixels, add);
}

// The gradient in the weights of `depthwise_conv`, added up over the row.
static void add_depthwise_weight_grad(ThreeRows x, const float* grad, float* weights, int pixels, int channels) {
  int p = 0;
  for (; p + TOGETHER <= pixels; p += TOGETHER)
    depthwise_weight_grad_block<TOGETHER>(shifted(x, p * channels), grad + p * channels, weights, channels, p == 0,
                                          p + TOGETHER == pixels);
  for (; p < pixels; p++)
    depthwise_weight_grad_block<1>(shifted(x, p * channels), grad + p * channels, weights, channels, p == 0,
                                   p + 1 == pixels);
}

static void add_to(float* out, const float* x, int count) {
  for (int i = 0; i < count; i += LANES) store(out + i, load(out + i) + load(x + i));
}
