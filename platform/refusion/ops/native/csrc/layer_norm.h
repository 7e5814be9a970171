// LayerNorm over the channels of each pixel of a row: x̂ = rstd · (x − mean), out = x̂ · weight + bias.
// Its Jacobian in x, J = rstd · (1 − mean(·) − x̂ · mean(x̂ ·)), is symmetric.

constexpr float EPS = 1e-5f;
constexpr int MOST = 8;  // vectors of channels

struct SavedNorm {
  float *scaled, *rstd;  // x̂ (pixels, channels) and rstd (pixels)
};

struct NormParameters {
  const float *weight, *bias;
};

static void layer_norm(const float* x, NormParameters by, SavedNorm saved, float* out, int pixels, int channels) {
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
    saved.rstd[p] = rstd;
    for (int c = 0; c < channels; c += LANES) {
      const Vec scaled = (load(here + c) - mean) * rstd;
      store(saved.scaled + p * channels + c, scaled);
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

// out = the result's tangent for tangents of x, weight and bias.
static void layer_norm_jvp(const float* dx, SavedNorm saved, NormParameters by, NormParameters tangent, float* out,
                           int pixels, int channels) {
  for (int p = 0; p < pixels; p++) {
    const float *scaled = saved.scaled + p * channels, rstd = saved.rstd[p];
    Vec z[MOST];
    for (int c = 0; c < channels; c += LANES) z[c / LANES] = load(dx + p * channels + c);
    const Applied j = apply(z, scaled, channels);
    for (int c = 0; c < channels; c += LANES) {
      const Vec here = load(scaled + c), dscaled = rstd * (z[c / LANES] - j.level - here * j.slant);
      store(out + p * channels + c,
            dscaled * load(by.weight + c) + here * load(tangent.weight + c) + load(tangent.bias + c));
    }
  }
}

// out = the gradient in x, from that in the result; those in weight and bias are added up.
static void layer_norm_vjp(const float* grad, SavedNorm saved, NormParameters by, float* out, float* grad_weight,
                           float* grad_bias, int pixels, int channels) {
  Vec weight_sums[MOST] = {}, bias_sums[MOST] = {};
  for (int p = 0; p < pixels; p++) {
    const float *scaled = saved.scaled + p * channels, rstd = saved.rstd[p];
    Vec z[MOST];
    for (int c = 0; c < channels; c += LANES) {
      const Vec here = load(grad + p * channels + c);
      weight_sums[c / LANES] += here * load(scaled + c);
      bias_sums[c / LANES] += here;
      z[c / LANES] = here * load(by.weight + c);
    }
    const Applied j = apply(z, scaled, channels);
    for (int c = 0; c < channels; c += LANES)
      store(out + p * channels + c, rstd * (z[c / LANES] - j.level - load(scaled + c) * j.slant));
  }
  for (int c = 0; c < channels; c += LANES) {
    store(grad_weight + c, load(grad_weight + c) + weight_sums[c / LANES]);
    store(grad_bias + c, load(grad_bias + c) + bias_sums[c / LANES]);
  }
}

// The same for the jvp, with the gradient in its tangent: J depends on x by way of rstd and doubly of x̂.
static void layer_norm_vjp_of_jvp(const float* grad, const float* tangent_grad, const float* dx, SavedNorm saved,
                                  NormParameters by, NormParameters tangent, float* out, float* tangent_out,
                                  float* grad_weight, float* grad_bias, int pixels, int channels) {
  Vec weight_sums[MOST] = {}, bias_sums[MOST] = {};
  for (int p = 0; p < pixels; p++) {
    const float *scaled = saved.scaled + p * channels, rstd = saved.rstd[p];
    const int at = p * channels;
    Vec dscaled[MOST], weighted[MOST], inner[MOST];
    for (int c = 0; c < channels; c += LANES) dscaled[c / LANES] = load(dx + at + c);
    const Applied of_tangent = apply(dscaled, scaled, channels);
    for (int c = 0; c < channels; c += LANES) weighted[c / LANES] = load(tangent_grad + at + c) * load(by.weight + c);
    const Applied of_grad = apply(weighted, scaled, channels);
    Vec product = {};
    for (int c = 0; c < channels; c += LANES) {
      const int v = c / LANES;
      const Vec here = load(scaled + c), grad_here = load(grad + at + c), grad_tangent = load(tangent_grad + at + c);
      inner[v] = grad_here * load(by.weight + c) + grad_tangent * load(tangent.weight + c) -
                 weighted[v] * (rstd * of_tangent.slant) - dscaled[v] * (rstd * of_grad.slant);
      dscaled[v] = rstd * (dscaled[v] - of_tangent.level - here * of_tangent.slant);
      product += weighted[v] * dscaled[v];
      weight_sums[v] += grad_here * here + grad_tangent * dscaled[v];
      bias_sums[v] += grad_here;
      store(tangent_out + at + c, rstd * (weighted[v] - of_grad.level - here * of_grad.slant));
    }
    const float joint = rstd * sum_of(product) / channels;
    const Applied j = apply(inner, scaled, channels);
    for (int c = 0; c < channels; c += LANES) {
      const Vec here = load(scaled + c);
      store(out + at + c, rstd * (inner[c / LANES] - j.level - here * j.slant) - here * joint);
    }
  }
  for (int c = 0; c < channels; c += LANES) {
    store(grad_weight + c, load(grad_weight + c) + weight_sums[c / LANES]);
    store(grad_bias + c, load(grad_bias + c) + bias_sums[c / LANES]);
  }
}
