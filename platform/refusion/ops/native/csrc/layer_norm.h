// LayerNorm over the channels of each pixel of a row: x̂ = rstd · (x − mean), out = x̂ · weight + bias.
// Its Jacobian in x, J = rstd · (1 − mean(·) − x̂ · mean(x̂ ·)), is symmetric.

constexpr float EPS = 1e-5f;
constexpr int MOST = 8;  // vectors of channels

struct NormRow {
  float *scaled, *rstd;  // x̂ (pixels, channels) and rstd (pixels)
};

struct NormParameters {
  const float *weight, *bias;
};

static void norm(const float* x, NormParameters by, NormRow made, float* out, int pixels, int channels) {
  const float share = 1.0f / channels;
  for (int p = 0; p < pixels; p++) {
    const float* here = x + p * channels;
    Vec total = {};
    for (int c = 0; c < channels; c += LANES) total += load(here + c);
    const float mean = sum_of(total) * share;
    Vec squares = {};
    for (int c = 0; c < channels; c += LANES) {
      const Vec centred = load(here + c) - mean;
      squares += centred * centred;
    }
    const float rstd = 1.0f / __builtin_sqrtf(sum_of(squares) * share + EPS);
    made.rstd[p] = rstd;
    for (int c = 0; c < channels; c += LANES) {
      const Vec scaled = (load(here + c) - mean) * rstd;
      store(made.scaled + p * channels + c, scaled);
      store(out + p * channels + c, scaled * load(by.weight + c) + load(by.bias + c));
    }
  }
}

// J of a pixel applied to z: rstd · (z − level − x̂ · slant).
struct Applied {
  float level, slant;
};

ALWAYS Applied apply(const Vec* z, const float* scaled, int channels) {
  Vec total = {}, along = {};
  for (int c = 0; c < channels; c += LANES) {
    total += z[c / LANES];
    along += z[c / LANES] * load(scaled + c);
  }
  return {sum_of(total) / channels, sum_of(along) / channels};
}

// The change of the result for changes of x, weight and bias.
static void norm_change(const float* dx, NormRow made, NormParameters by, NormParameters change, float* out, int pixels,
                        int channels) {
  for (int p = 0; p < pixels; p++) {
    const float *scaled = made.scaled + p * channels, rstd = made.rstd[p];
    Vec z[MOST];
    for (int c = 0; c < channels; c += LANES) z[c / LANES] = load(dx + p * channels + c);
    const Applied j = apply(z, scaled, channels);
    for (int c = 0; c < channels; c += LANES) {
      const Vec here = load(scaled + c), moved = rstd * (z[c / LANES] - j.level - here * j.slant);
      store(out + p * channels + c, moved * load(by.weight + c) + here * load(change.weight + c) + load(change.bias + c));
    }
  }
}

// out = the slope in x, from that in the result; those in weight and bias are added up.
static void norm_slope(const float* slope, NormRow made, NormParameters by, float* out, float* of_weight, float* of_bias,
                       int pixels, int channels) {
  Vec in_weight[MOST] = {}, in_bias[MOST] = {};
  for (int p = 0; p < pixels; p++) {
    const float *scaled = made.scaled + p * channels, rstd = made.rstd[p];
    Vec z[MOST];
    for (int c = 0; c < channels; c += LANES) {
      const Vec here = load(slope + p * channels + c);
      in_weight[c / LANES] += here * load(scaled + c);
      in_bias[c / LANES] += here;
      z[c / LANES] = here * load(by.weight + c);
    }
    const Applied j = apply(z, scaled, channels);
    for (int c = 0; c < channels; c += LANES)
      store(out + p * channels + c, rstd * (z[c / LANES] - j.level - load(scaled + c) * j.slant));
  }
  for (int c = 0; c < channels; c += LANES) {
    store(of_weight + c, load(of_weight + c) + in_weight[c / LANES]);
    store(of_bias + c, load(of_bias + c) + in_bias[c / LANES]);
  }
}

// The same where the result's change has a slope too, `slope_too`: J depends on x by way of rstd and twice of x̂.
static void norm_slopes(const float* slope, const float* slope_too, const float* dx, NormRow made, NormParameters by,
                        NormParameters change, float* out, float* out_too, float* of_weight, float* of_bias, int pixels,
                        int channels) {
  Vec in_weight[MOST] = {}, in_bias[MOST] = {};
  for (int p = 0; p < pixels; p++) {
    const float *scaled = made.scaled + p * channels, rstd = made.rstd[p];
    const int at = p * channels;
    Vec moved[MOST], weighted[MOST], inner[MOST];
    for (int c = 0; c < channels; c += LANES) moved[c / LANES] = load(dx + at + c);
    const Applied of_change = apply(moved, scaled, channels);
    for (int c = 0; c < channels; c += LANES) weighted[c / LANES] = load(slope_too + at + c) * load(by.weight + c);
    const Applied of_slope = apply(weighted, scaled, channels);
    Vec product = {};
    for (int c = 0; c < channels; c += LANES) {
      const int v = c / LANES;
      const Vec here = load(scaled + c), first = load(slope + at + c), second = load(slope_too + at + c);
      inner[v] = first * load(by.weight + c) + second * load(change.weight + c) -
                 weighted[v] * (rstd * of_change.slant) - moved[v] * (rstd * of_slope.slant);
      moved[v] = rstd * (moved[v] - of_change.level - here * of_change.slant);
      product += weighted[v] * moved[v];
      in_weight[v] += first * here + second * moved[v];
      in_bias[v] += first;
      store(out_too + at + c, rstd * (weighted[v] - of_slope.level - here * of_slope.slant));
    }
    const float joint = rstd * sum_of(product) / channels;
    const Applied j = apply(inner, scaled, channels);
    for (int c = 0; c < channels; c += LANES) {
      const Vec here = load(scaled + c);
      store(out + at + c, rstd * (inner[c / LANES] - j.level - here * j.slant) - here * joint);
    }
  }
  for (int c = 0; c < channels; c += LANES) {
    store(of_weight + c, load(of_weight + c) + in_weight[c / LANES]);
    store(of_bias + c, load(of_bias + c) + in_bias[c / LANES]);
  }
}
