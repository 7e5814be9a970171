// Vectors of 16 floats, and the mathematics that the operations need.

#include <cstdint>
#include <cstring>
#include <vector>

#include <omp.h>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#define ALWAYS static inline __attribute__((always_inline))

constexpr int LANES = 16;

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef float Unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));

ALWAYS Vec load(const float* from) { return *reinterpret_cast<const Unaligned*>(from); }

ALWAYS void store(float* to, Vec x) { *reinterpret_cast<Unaligned*>(to) = x; }

ALWAYS Vec all(float x) { return x - Vec{}; }

ALWAYS float sum_of(Vec x) {
  typedef float Half __attribute__((vector_size(2 * LANES)));
  typedef float Quarter __attribute__((vector_size(LANES)));
  Half halves[2];
  std::memcpy(halves, &x, sizeof x);
  const Half half = halves[0] + halves[1];
  Quarter quarters[2];
  std::memcpy(quarters, &half, sizeof half);
  const Quarter quarter = quarters[0] + quarters[1];
  return (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
}

// 1/x for x >= 1, to two units in the last place: a division takes longer than all the rest of a gate.
ALWAYS Vec inverse(Vec x) {
#ifdef __AVX512F__
  const Vec guess = (Vec)_mm512_rcp14_ps((__m512)x);
  return guess * (2.0f - x * guess);
#else
  return 1.0f / x;
#endif
}

// exp(x) for x <= 0, to two units in the last place: 2^n times a Taylor polynomial on half an octave to either side.
ALWAYS Vec exp_of_negative(Vec x) {
  x = x < -87.0f ? all(-87.0f) : x;
  const Ints n = __builtin_convertvector(x * 1.44269504f - 0.5f, Ints);
  const Vec whole = __builtin_convertvector(n, Vec);
  // ln 2 in two parts, the first of which has few digits, so that the difference is exact.
  const Vec r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
  Vec y = all(1.0f / 5040);
  y = y * r + 1.0f / 720;
  y = y * r + 1.0f / 120;
  y = y * r + 1.0f / 24;
  y = y * r + 1.0f / 6;
  y = y * r + 0.5f;
  y = y * r + 1.0f;
  y = y * r + 1.0f;
  return (Vec)((Ints)y + (n << 23));
}

struct Normal {
  Vec level, density;  // the normal distribution and its density
};

// The tail of the distribution is exp(-x²/2) times a smooth function of t = 1/(1 + |x|/4), whose polynomial was
// fitted to scipy.special.erfcx for the least relative error, 2e-8.
ALWAYS Normal normal_at(Vec x) {
  const Vec far = x < 0.0f ? -x : x;
  const Vec bell = exp_of_negative(x * x * -0.5f);
  const Vec t = inverse(far * 0.25f + 1.0f);
  Vec y = all(2.039336356e-02f);
  y = y * t - 8.358730993e-02f;
  y = y * t + 1.006303011e-01f;
  y = y * t - 3.680494783e-02f;
  y = y * t + 6.674177370e-02f;
  y = y * t + 5.787848176e-02f;
  y = y * t + 8.183545994e-02f;
  y = y * t + 9.343943595e-02f;
  y = y * t + 9.973789680e-02f;
  y = y * t + 9.973554058e-02f;
  const Vec tail = y * t * bell;
  return {x < 0.0f ? tail : 1.0f - tail, bell * 0.398942280f};
}
