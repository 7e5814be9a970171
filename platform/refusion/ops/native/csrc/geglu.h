// gelu(gate) · value of a row: both[pixel][2 · channels], gates first, then values. With the normal distribution Φ and
// its density φ, gelu(g) = g·Φ, gelu' = Φ + g·φ and gelu'' = φ·(2 − g²).

static void gated(const float* both, float* product, int pixels, int channels) {
  for (int p = 0; p < pixels; p++)
    for (int c = 0; c < channels; c += LANES) {
      const float* here = both + 2 * p * channels + c;
      const Vec gate = load(here);
      store(product + p * channels + c, gate * normal_at(gate).level * load(here + channels));
    }
}

static void gated_change(const float* both, const float* change, float* product, float* moved, int pixels,
                         int channels) {
  for (int p = 0; p < pixels; p++)
    for (int c = 0; c < channels; c += LANES) {
      const float *here = both + 2 * p * channels + c, *there = change + 2 * p * channels + c;
      const Vec gate = load(here), value = load(here + channels);
      const Normal at = normal_at(gate);
      const Vec opened = gate * at.level, rise = at.level + gate * at.density;
      store(product + p * channels + c, opened * value);
      store(moved + p * channels + c, load(there) * value * rise + opened * load(there + channels));
    }
}

// The product again, and the slope in both from that in the product.
static void gated_slope(const float* both, const float* slope, float* product, float* out, int pixels, int channels) {
  for (int p = 0; p < pixels; p++)
    for (int c = 0; c < channels; c += LANES) {
      const float* here = both + 2 * p * channels + c;
      float* of_here = out + 2 * p * channels + c;
      const Vec gate = load(here), value = load(here + channels), of_product = load(slope + p * channels + c);
      const Normal at = normal_at(gate);
      const Vec opened = gate * at.level;
      store(product + p * channels + c, opened * value);
      store(of_here, of_product * value * (at.level + gate * at.density));
      store(of_here + channels, of_product * opened);
    }
}

// The same where the product's change has a slope too: product and change again, the slopes in both and in its change.
static void gated_slopes(const float* both, const float* change, const float* slope, const float* slope_too,
                         float* product, float* moved, float* out, float* out_too, int pixels, int channels) {
  for (int p = 0; p < pixels; p++)
    for (int c = 0; c < channels; c += LANES) {
      const int wide = 2 * p * channels + c, narrow = p * channels + c;
      const Vec gate = load(both + wide), value = load(both + wide + channels);
      const Vec dgate = load(change + wide), dvalue = load(change + wide + channels);
      const Vec first = load(slope + narrow), second = load(slope_too + narrow);
      const Normal at = normal_at(gate);
      const Vec opened = gate * at.level, rise = at.level + gate * at.density;
      const Vec bend = at.density * (2.0f - gate * gate);
      store(product + narrow, opened * value);
      store(moved + narrow, dgate * value * rise + opened * dvalue);
      store(out + wide, (first * value + second * dvalue) * rise + second * value * bend * dgate);
      store(out + wide + channels, first * opened + second * rise * dgate);
      store(out_too + wide, second * value * rise);
      store(out_too + wide + channels, second * opened);
    }
}
