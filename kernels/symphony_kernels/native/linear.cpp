// Products with a weight that lies in panels: what a step spends its time on.
//
// The weight [out][in] is stored as panels of 2 W outputs, [out / 2 W][in][2 W], so that it is read front to back, at the
// memory's speed, while several rows share what was read. A row's result does not depend on how many rows there are.
// Rows and sums are fp32; weights are fp32, or bf16, which needs half the memory and is widened on the way: every
// processor can do that.

#include <vector>

#include "vectors.h"

namespace {

constexpr int PANEL = 2 * W;
constexpr int ROWS = W == 16 ? 12 : 6;   // that are in registers together
constexpr int64_t BLOCK_BYTES = 256 << 10;  // of rows that stay in the second cache while all panels pass

typedef uint16_t Half __attribute__((vector_size(W * 2)));
typedef uint16_t LooseHalf __attribute__((vector_size(W * 2), aligned(2), may_alias));

inline Vec widened(const float* p) { return load(p); }
inline Vec widened(const uint16_t* p) {
  const Half half = *reinterpret_cast<const LooseHalf*>(p);
  const Int bits = __builtin_convertvector(half, Int) << 16;
  Vec x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

enum After { NOTHING = 0, SILU = 1, ADD = 2, MULTIPLY = 3 };

inline Vec silu(Vec x) {
  Vec e = exponential(x > 0.f ? -x : x);
  return x * (x > 0.f ? all(1.f) : e) / (e + 1.f);
}

inline Vec after(Vec x, const float* bias, const float* other, int what) {
  if (bias) x += load(bias);
  if (what == SILU) return silu(x);
  if (what == ADD) return x + load(other);
  if (what == MULTIPLY) return x * load(other);
  return x;
}

// R rows against one panel
template <int R, typename T>
void panel(const float* x, const T* weight, const float* bias, const float* other, float* out, int64_t in,
           int64_t outs, int what) {
  Vec acc[R][2] = {};
  for (int64_t k = 0; k < in; k++) {
    const Vec a = widened(weight + k * PANEL), b = widened(weight + k * PANEL + W);
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) {
      const float each = x[r * in + k];
      acc[r][0] += a * each, acc[r][1] += b * each;
    }
  }
  for (int r = 0; r < R; r++)
    for (int v = 0; v < 2; v++) {
      const int64_t at = r * outs + v * W;
      store(out + at, after(acc[r][v], bias ? bias + v * W : nullptr, other + at, what));
    }
}

// The kernel for as many rows as there are, at most R
template <int R, typename... Rest>
inline void some(int64_t rows, Rest... rest) {
  if constexpr (R > 1)
    if (rows < R) return some<R - 1>(rows, rest...);
  panel<R>(rest...);
}

template <typename T>
void pack(const T* weight, T* packed, int64_t outs, int64_t in) {
  for (int64_t p = 0; p < outs; p += PANEL)
    for (int64_t k = 0; k < in; k++)
      for (int64_t n = 0; n < PANEL; n++) packed[p * in + k * PANEL + n] = weight[(p + n) * in + k];
}

// A panel as fp32: itself, or widened once for many rows
inline const float* as_floats(const float* panel, std::vector<float>&, int64_t) { return panel; }
inline const float* as_floats(const uint16_t* panel, std::vector<float>& scratch, int64_t count) {
  scratch.resize(count);
  for (int64_t i = 0; i < count; i += W) store(scratch.data() + i, widened(panel + i));
  return scratch.data();
}

template <typename T>
void linear(const float* x, const T* packed, const float* bias, const float* other, float* out, int64_t rows,
            int64_t in, int64_t outs, int what, int64_t threads) {
  if (what < ADD) other = out;
  const int64_t panels = outs / PANEL, block = std::max<int64_t>(1, panels / (threads * 4));
  const int64_t most = std::max<int64_t>(1, BLOCK_BYTES / (in * 4 * ROWS)) * ROWS;
  spread((panels + block - 1) / block, threads, [&](int64_t b) {
    std::vector<float> scratch;
    for (int64_t first = 0; first < rows; first += most)
      for (int64_t p = b * block; p < std::min(panels, (b + 1) * block); p++) {
        const T* w = packed + p * PANEL * in;
        const float* shift = bias ? bias + p * PANEL : nullptr;
        const int64_t end = std::min(rows, first + most);
        auto run = [&](auto* weight) {
          for (int64_t r = first; r < end; r += ROWS) {
            const int64_t at = r * outs + p * PANEL;
            some<ROWS>(std::min<int64_t>(ROWS, end - r), x + r * in, weight, shift, other + at, out + at, in, outs,
                       what);
          }
        };
        if (end - first > ROWS)
          run(as_floats(w, scratch, PANEL * in));
        else
          run(w);
      }
  });
}

}  // namespace

extern "C" {

int symphony_panel() { return PANEL; }

// packed: [outs / PANEL][in][PANEL]; `narrow`: bf16, else fp32.
void symphony_pack(const void* weight, void* packed, int64_t outs, int64_t in, int narrow) {
  if (narrow)
    pack(static_cast<const uint16_t*>(weight), static_cast<uint16_t*>(packed), outs, in);
  else
    pack(static_cast<const float*>(weight), static_cast<float*>(packed), outs, in);
}

// x: [rows][in], other and out: [rows][outs]; outs is a multiple of PANEL. `other` is read only if `what` needs it.
void symphony_linear(const float* x, const void* packed, const float* bias, const float* other, float* out,
                     int64_t rows, int64_t in, int64_t outs, int what, int narrow, int64_t threads) {
  if (narrow)
    linear(x, static_cast<const uint16_t*>(packed), bias, other, out, rows, in, outs, what, threads);
  else
    linear(x, static_cast<const float*>(packed), bias, other, out, rows, in, outs, what, threads);
}

}  // extern "C"
