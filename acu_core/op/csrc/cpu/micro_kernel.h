// The micro-kernel: a small matrix product held in registers, and the three products of the operator built on it.
//
// kRows x kPanelVectors vectors of accumulators: 6 x 2 with 16 registers (12 accumulators, 2 vectors of b, 1 of a), 8 x 3
// or 12 x 2 with 32. Twelve independent multiply-add chains hide a latency of 4 cycles at 2 a cycle.

#pragma once

#include <algorithm>
#include <type_traits>

#include "sight.h"

namespace acu::ACU_INSTRUCTION_SET {

enum class Result { kStore, kAdd };

// The accumulators: ROWS rows of the result, of a panel or of the first vectors of one.
template <class T, int ROWS, int VECTORS = kPanelVectors>
struct Accumulators {
  using S = Wide<T>;
  typename S::Vector sum[ROWS][VECTORS];

  template <Result RESULT>
  ACU_INLINE void start(const T* c, int64_t c_row) {
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; ++v) {
        if constexpr (RESULT == Result::kAdd) {
          sum[r][v] = load<S>(c + r * c_row + v * S::kLanes);
        } else {
          sum[r][v] = typename S::Vector{};
        }
      }
    }
  }

  // sum[r] += sum over i < depth of a[r * a_row + i * a_step] * b[i * kPanel + 0..kPanel)
  //
  // Unrolled, for the processor shares its decoder between two programs where two threads run on a core: 20 instructions
  // for 12 multiply-adds instead of 24 made the loop up to a fifth faster there.
  ACU_INLINE void add(int64_t depth, const T* a, int64_t a_row, int64_t a_step, const T* b) {
#pragma GCC unroll 8
    for (int64_t i = 0; i < depth; ++i) add_one(a + i * a_step, a_row, b + i * kPanel<T>);
  }

  // The same for a depth of kPanel.
  ACU_INLINE void add_panel(const T* a, int64_t a_row, const T* b) {
#pragma GCC unroll 48
    for (int64_t i = 0; i < kPanel<T>; ++i) add_one(a + i, a_row, b + i * kPanel<T>);
  }

  ACU_INLINE void add_one(const T* a, int64_t a_row, const T* b) {
    typename S::Vector vectors[VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) vectors[v] = load<S>(b + v * S::kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; ++r) {
      const T factor = a[r * a_row];
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; ++v) sum[r][v] += factor * vectors[v];
    }
  }

  ACU_INLINE void finish(T* c, int64_t c_row) const {
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; ++v) store<S>(c + r * c_row + v * S::kLanes, sum[r][v]);
    }
  }
};

// Calls f(rows, first row) for all rows, kRows at a time and then the rest; `rows` is a constant, one instance of f for
// each, so that the accumulators stay in registers.
template <int ROWS, class F>
ACU_INLINE void last_rows(int64_t rows, int64_t first, const F& f) {
  if constexpr (ROWS > 0) {
    if (rows == ROWS) {
      f(std::integral_constant<int, ROWS>{}, first);
    } else {
      last_rows<ROWS - 1>(rows, first, f);
    }
  }
}

template <class F>
ACU_INLINE void over_micro_rows(int64_t rows, const F& f) {
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows) f(std::integral_constant<int, kRows>{}, r);
  last_rows<kRows - 1>(rows - r, r, f);
}

// Where the pixels of a tile lie in an image or its gradient, group by group (sight.h): elements from one pixel of a group to
// the next, and from one group to the next.
struct PixelRows {
  int64_t step, group_step;
};

// Calls f(rows, group, first pixel) for the groups of a tile's pixels; `rows` is a constant as above.
template <class F>
ACU_INLINE void over_groups(int64_t pixels, int64_t group, const F& f) {
  int64_t g = 0, p = 0;
  if (group == kRows) {
    for (; p + kRows <= pixels; ++g, p += kRows) f(std::integral_constant<int, kRows>{}, g, p);
  }
  for (; p < pixels; ++g, p += group) {
    last_rows<kRows>(std::min(group, pixels - p), p, [&](auto rows, int64_t first) { f(rows, g, first); });
  }
}

// A panel of outputs, of which `lanes` are present: no more than VECTORS vectors. See multiply_columns.
template <class T, Result RESULT, int VECTORS>
void multiply_panel(int64_t pixels, int64_t lanes, int64_t depth, const Sight& sight, const T* columns, int64_t panel_step,
                    const T* weight, T* out, PixelRows place) {
  constexpr int64_t kWidth = VECTORS * Wide<T>::kLanes;
  over_groups(pixels, sight.group(), [&](auto rows, int64_t group, int64_t p) {
    const T *a = columns + p * kPanel<T>, *b = weight;
    T part[rows * kWidth];  // in place of a last vector of which not all are present
    T *first = out + group * place.group_step, *c = first;
    int64_t c_row = place.step;
    if (lanes < kWidth) {
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t l = 0; l < kWidth; ++l) {
          part[r * kWidth + l] = RESULT == Result::kAdd && l < lanes ? first[r * place.step + l] : T(0);
        }
      }
      c = part;
      c_row = kWidth;
    }
    Accumulators<T, rows, VECTORS> sums;
    sums.template start<RESULT>(c, c_row);
    int64_t left = depth;
    for (int64_t i = 0; left >= kPanel<T>; ++i, left -= kPanel<T>, a += panel_step, b += kPanel<T> * kPanel<T>) {
      if (!sight.sees(i, group)) continue;
      if constexpr (VECTORS == kPanelVectors) {
        sums.add_panel(a, kPanel<T>, b);
      } else {
        sums.add(kPanel<T>, a, kPanel<T>, 1, b);  // seldom enough not to be unrolled as far
      }
    }
    sums.add(left, a, kPanel<T>, 1, b);
    sums.finish(c, c_row);
    if (lanes < kWidth) {
      for (int64_t r = 0; r < rows; ++r) std::copy_n(part + r * kWidth, lanes, first + r * place.step);
    }
  });
}

template <class T, Result RESULT, int VECTORS, class... Arguments>
ACU_INLINE void multiply_part_of_panel(int64_t pixels, int64_t lanes, const Arguments&... arguments) {
  if constexpr (VECTORS < kPanelVectors) {
    if (lanes <= VECTORS * Wide<T>::kLanes) return multiply_panel<T, RESULT, VECTORS>(pixels, lanes, arguments...);
    multiply_part_of_panel<T, RESULT, VECTORS + 1>(pixels, lanes, arguments...);
  } else {
    multiply_panel<T, RESULT, VECTORS>(pixels, lanes, arguments...);
  }
}

// Forward: out (pixels x outputs) (+)= columns (pixels x depth) * weight (depth x outputs).
// columns: [panel][pixel][kPanel], panel_step apart; weight: [panel of outputs][depth][kPanel].
// Panel by panel of outputs, so that the panel of the weight stays in the first-level cache while the pixels pass. Of the
// last only the vectors in use: 64 outputs are a panel of three vectors and one more vector.
template <class T, Result RESULT>
void multiply_columns(int64_t pixels, int64_t outputs, int64_t depth, const Sight& sight, const T* columns,
                      int64_t panel_step, const T* weight, T* out, PixelRows place) {
  for (int64_t o = 0; o < outputs; o += kPanel<T>, weight += depth * kPanel<T>) {
    multiply_part_of_panel<T, RESULT, 1>(pixels, std::min(kPanel<T>, outputs - o), depth, sight, columns, panel_step,
                                         weight, out + o, place);
  }
}

// A function of its own: where GCC puts several of them into one, the loop of the most rows becomes a twentieth slower.
template <class T, int ROWS>
__attribute__((noinline)) void multiply_gradient_rows(int64_t outputs, const T* gradient, int64_t step, const T* weight,
                                                      T* to) {
  Accumulators<T, ROWS> sums;
  sums.template start<Result::kStore>(nullptr, 0);
  sums.add(outputs, gradient, step, 1, weight);
  sums.finish(to, kPanel<T>);
}

// Backward, before the walk: gradient of the columns (pixels x columns) = gradient (pixels x outputs) * weight^T.
// weight: [panel of columns][output][kPanel], zeros behind the last column. Where nothing is seen nothing is written: the
// walk does not read there.
template <class T>
void multiply_gradient(int64_t pixels, int64_t columns, int64_t outputs, const Sight& sight, const T* gradient,
                       PixelRows place, const T* weight, T* buffer, int64_t panel_step) {
  for (int64_t i = 0; i * kPanel<T> < columns; ++i, weight += outputs * kPanel<T>, buffer += panel_step) {
    over_groups(pixels, sight.group(), [&](auto rows, int64_t group, int64_t p) {
      if (!sight.sees(i, group)) return;
      multiply_gradient_rows<T, rows>(outputs, gradient + group * place.group_step, place.step, weight,
                                      buffer + p * kPanel<T>);
    });
  }
}

template <class T, bool INTERLEAVED, int ROWS>
__attribute__((noinline)) void multiply_transposed_rows(const Sight& sight, int64_t panel, const T* gradient, PixelRows place,
                                                        const T* buffer, T* grad_weight) {
  const int64_t group = sight.group();
  Accumulators<T, ROWS> sums;
  sums.template start<Result::kAdd>(grad_weight, kPanel<T>);
  sight.over_runs(panel, [&](int64_t first_group, int64_t first, int64_t pixels) {
    const T *a = gradient + first_group * place.group_step, *b = buffer + first * kPanel<T>;
    if constexpr (INTERLEAVED) {
      for (; pixels > 0; pixels -= group, a += place.group_step, b += group * kPanel<T>) {
        sums.add(group, a, 1, place.step, b);
      }
    } else {
      sums.add(pixels, a, 1, place.step, b);
    }
  });
  sums.finish(grad_weight, kPanel<T>);
}

// Backward, after the walk: gradient of the weight (outputs x columns) += gradient^T * columns, in the layout of the
// transposed weight.
template <class T>
void multiply_transposed(int64_t columns, int64_t outputs, const Sight& sight, const T* gradient, PixelRows place,
                         const T* buffer, int64_t panel_step, T* grad_weight) {
  const bool interleaved = place.group_step != sight.group() * place.step;
  for (int64_t i = 0; i * kPanel<T> < columns; ++i, buffer += panel_step) {
    over_micro_rows(outputs, [&](auto rows, int64_t o) {
      T* to = grad_weight + o * kPanel<T>;
      interleaved ? multiply_transposed_rows<T, true, rows>(sight, i, gradient + o, place, buffer, to)
                  : multiply_transposed_rows<T, false, rows>(sight, i, gradient + o, place, buffer, to);
    });
    grad_weight += outputs * kPanel<T>;
  }
}

}  // namespace acu::ACU_INSTRUCTION_SET
