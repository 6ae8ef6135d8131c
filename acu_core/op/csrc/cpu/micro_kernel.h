// The micro-kernel: a small matrix product held in registers, and the three products of the operator built on it.
//
// kRows x 2 vectors of accumulators: 6 x 2 with 16 registers (12 accumulators, 2 vectors of b, 1 of a), 12 x 2 with
// 32. Twelve independent multiply-add chains hide a latency of 4 cycles at 2 a cycle.

#pragma once

#include <algorithm>

#include "vector.h"

namespace acu::ACU_INSTRUCTION_SET {

constexpr int64_t kRows = ACU_MICRO_ROWS;

template <class T>
constexpr int64_t kPanel = 2 * Wide<T>::kLanes;

enum class Result { kStore, kAdd };

// c[r][0..kPanel) (+)= sum over i < depth of a[r * a_row + i * a_step] * b[i * kPanel + 0..kPanel), for r < ROWS.
template <class T, int ROWS, Result RESULT>
ACU_INLINE void multiply_in_registers(int64_t depth, const T* a, int64_t a_row, int64_t a_step, const T* b, T* c,
                                      int64_t c_row) {
  using S = Wide<T>;
  typename S::Vector sum[ROWS][2];
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; ++r) {
    if constexpr (RESULT == Result::kAdd) {
      sum[r][0] = load<S>(c + r * c_row);
      sum[r][1] = load<S>(c + r * c_row + S::kLanes);
    } else {
      sum[r][0] = sum[r][1] = typename S::Vector{};
    }
  }
  for (int64_t i = 0; i < depth; ++i) {
    const typename S::Vector b0 = load<S>(b + i * kPanel<T>), b1 = load<S>(b + i * kPanel<T> + S::kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; ++r) {
      const T factor = a[r * a_row + i * a_step];
      sum[r][0] += factor * b0;
      sum[r][1] += factor * b1;
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; ++r) {
    store<S>(c + r * c_row, sum[r][0]);
    store<S>(c + r * c_row + S::kLanes, sum[r][1]);
  }
}

// The same for any number of rows below kRows: one instance each, so that the accumulators stay in registers.
template <class T, Result RESULT, int ROWS = kRows - 1>
ACU_INLINE void multiply_rows(int64_t rows, int64_t depth, const T* a, int64_t a_row, int64_t a_step, const T* b, T* c,
                              int64_t c_row) {
  if constexpr (ROWS > 0) {
    if (rows == ROWS) {
      multiply_in_registers<T, ROWS, RESULT>(depth, a, a_row, a_step, b, c, c_row);
    } else {
      multiply_rows<T, RESULT, ROWS - 1>(rows, depth, a, a_row, a_step, b, c, c_row);
    }
  }
}

// A last panel of which only the first `lanes` are present in c, for up to kRows rows.
template <class T, Result RESULT>
void multiply_part_of_panel(int64_t rows, int64_t lanes, int64_t depth, const T* a, int64_t a_row, int64_t a_step,
                            const T* b, T* c, int64_t c_row) {
  T whole[kRows * kPanel<T>];
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t l = 0; l < kPanel<T>; ++l) {
      whole[r * kPanel<T> + l] = RESULT == Result::kAdd && l < lanes ? c[r * c_row + l] : T(0);
    }
  }
  if (rows == kRows) {
    multiply_in_registers<T, kRows, Result::kAdd>(depth, a, a_row, a_step, b, whole, kPanel<T>);
  } else {
    multiply_rows<T, Result::kAdd>(rows, depth, a, a_row, a_step, b, whole, kPanel<T>);
  }
  for (int64_t r = 0; r < rows; ++r) std::copy_n(whole + r * kPanel<T>, lanes, c + r * c_row);
}

// c (rows x width) (+)= a (rows x depth) * b (depth x width), b packed in panels: [panel][depth][kPanel].
// Panel by panel, so that the panel stays in the first-level cache while the rows stream past it.
template <class T, Result RESULT>
void multiply(int64_t rows, int64_t width, int64_t depth, const T* a, int64_t a_row, int64_t a_step, const T* b, T* c,
              int64_t c_row) {
  for (int64_t column = 0; column < width; column += kPanel<T>, b += depth * kPanel<T>) {
    const int64_t lanes = std::min(kPanel<T>, width - column);
    int64_t r = 0;
    if (lanes == kPanel<T>) {
      for (; r + kRows <= rows; r += kRows) {
        multiply_in_registers<T, kRows, RESULT>(depth, a + r * a_row, a_row, a_step, b, c + r * c_row + column, c_row);
      }
      multiply_rows<T, RESULT>(rows - r, depth, a + r * a_row, a_row, a_step, b, c + r * c_row + column, c_row);
    } else {
      for (; r < rows; r += kRows) {
        multiply_part_of_panel<T, RESULT>(std::min(kRows, rows - r), lanes, depth, a + r * a_row, a_row, a_step, b,
                                          c + r * c_row + column, c_row);
      }
    }
  }
}

// c (panels of [rows][kPanel]) += a^T * b: a is (depth x rows) with rows next to each other, b packed like above.
// The gradient of the weight stands in the layout of the packed weight, so that a micro-tile of it is contiguous.
template <class T>
void multiply_transposed(int64_t rows, int64_t panels, int64_t depth, const T* a, int64_t a_step, const T* b, T* c) {
  for (int64_t panel = 0; panel < panels; ++panel, b += depth * kPanel<T>, c += rows * kPanel<T>) {
    int64_t r = 0;
    for (; r + kRows <= rows; r += kRows) {
      multiply_in_registers<T, kRows, Result::kAdd>(depth, a + r, 1, a_step, b, c + r * kPanel<T>, kPanel<T>);
    }
    multiply_rows<T, Result::kAdd>(rows - r, depth, a + r, 1, a_step, b, c + r * kPanel<T>, kPanel<T>);
  }
}

}  // namespace acu::ACU_INSTRUCTION_SET
