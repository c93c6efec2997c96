// Vectors of floats, as wide as the processor's, and loops over threads.

#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

#ifdef __AVX512F__
constexpr int W = 16;
#else
constexpr int W = 8;
#endif

typedef float Vec __attribute__((vector_size(W * 4)));
typedef float Loose __attribute__((vector_size(W * 4), aligned(4), may_alias));
typedef int32_t Int __attribute__((vector_size(W * 4)));

inline Vec load(const float* p) { return *reinterpret_cast<const Loose*>(p); }
inline void store(float* p, Vec x) { *reinterpret_cast<Loose*>(p) = x; }
inline Vec all(float x) { return x - Vec{}; }
inline Vec larger(Vec a, Vec b) { return a > b ? a : b; }  // b where a is not a number
inline float sum(Vec x) {
  float s = 0;
  for (int i = 0; i < W; i++) s += x[i];
  return s;
}

// e^x for x <= 0 with 2 ulp; 0 below -87, not a number where x is none.
inline Vec exponential(Vec x) {
  const Vec shift = all(12582912.f);  // 1.5 * 2^23: adding it rounds
  Vec n = (x * 1.44269504f + shift) - shift;
  Vec r = x - n * 0.693359375f - n * -2.12194440e-4f;
  Vec p = all(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.f;
  Vec safe = x < -87.f ? Vec{} : n;
  Int bits = (__builtin_convertvector(safe, Int) + 127) << 23;
  Vec power;
  std::memcpy(&power, &bits, sizeof power);
  return x < -87.f ? Vec{} : p * power;
}

// Calls body(i) for i in [0, count), by several threads if that is worth it.
template <typename Body>
void spread(int64_t count, int64_t threads, const Body& body) {
#ifdef _OPENMP
  if (threads > 1 && count > 1) {
    std::atomic<int64_t> next{0};
#pragma omp parallel num_threads(int(std::min(threads, count)))
    for (int64_t i; (i = next.fetch_add(1)) < count;) body(i);
    return;
  }
#endif
  for (int64_t i = 0; i < count; i++) body(i);
}

}  // namespace
