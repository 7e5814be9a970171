// GEGLU of a row, gelu(gate) · value: both[pixel][2 · channels], gates first, then values. With the normal distribution
// Φ and its density φ, gelu(g) = g·Φ, gelu' = Φ + g·φ and gelu'' = φ·(2 − g²).

static void geglu(const float* both, float* product, int pixels, int channels) {
  for (int p = 0; p < pixels; p++)
    for (int c = 0; c < channels; c += LANES) {
      const float* here = both + 2 * p * channels + c;
      const Vec gate = load(here);
      store(product + p * channels + c, gate * normal_at(gate).level * load(here + channels));
    }
}

static void geglu_jvp(const float* both, const float* tangent, float* product, float* product_tangent, int pixels,
                      int channels) {
  for (int p = 0; p < pixels; p++)
    for (int c = 0; c < channels; c += LANES) {
      const float *here = both + 2 * p * channels + c, *there = tangent + 2 * p * channels + c;
      const Vec gate = load(here), value = load(here + channels);
      const Normal at = normal_at(gate);
      const Vec gelu = gate * at.level, derivative = at.level + gate * at.density;
      store(product + p * channels + c, gelu * value);
      store(product_tangent + p * channels + c, load(there) * value * derivative + gelu * load(there + channels));
    }
}

// The product again, and the gradient in both from that in the product.
static void geglu_vjp(const float* both, const float* grad, float* product, float* out, int pixels, int channels) {
  for (int p = 0; p < pixels; p++)
    for (int c = 0; c < channels; c += LANES) {
      const float* here = both + 2 * p * channels + c;
      float* out_here = out + 2 * p * channels + c;
      const Vec gate = load(here), value = load(here + channels), grad_product = load(grad + p * channels + c);
      const Normal at = normal_at(gate);
      const Vec gelu = gate * at.level;
      store(product + p * channels + c, gelu * value);
      store(out_here, grad_product * value * (at.level + gate * at.density));
      store(out_here + channels, grad_product * gelu);
    }
}

// The same for the jvp: product and tangent again, and the gradients in both and in its tangent.
static void geglu_vjp_of_jvp(const float* both, const float* tangent, const float* grad, const float* tangent_grad,
                             float* product, float* product_tangent, float* out, float* tangent_out, int pixels,
                             int channels) {
  for (int p = 0; p < pixels; p++)
    for (int c = 0; c < channels; c += LANES) {
      const int wide = 2 * p * channels + c, narrow = p * channels + c;
      const Vec gate = load(both + wide), value = load(both + wide + channels);
      const Vec dgate = load(tangent + wide), dvalue = load(tangent + wide + channels);
      const Vec grad_tangent = load(tangent_grad + narrow), grad_product = load(grad + narrow);
      const Normal at = normal_at(gate);
      const Vec gelu = gate * at.level, derivative = at.level + gate * at.density;
      const Vec second = at.density * (2.0f - gate * gate);
      store(product + narrow, gelu * value);
      store(product_tangent + narrow, dgate * value * derivative + gelu * dvalue);
      store(out + wide,
            (grad_product * value + grad_tangent * dvalue) * derivative + grad_tangent * value * second * dgate);
      store(out + wide + channels, grad_product * gelu + grad_tangent * derivative * dgate);
      store(tangent_out + wide, grad_tangent * value * derivative);
      store(tangent_out + wide + channels, grad_tangent * gelu);
    }
}
