// Between the two layouts: contiguous (a plane per channel) and channels_last (the channels of a pixel together). The
// kernels work in channels_last; tensors of the other layout pass through here a tile or an image at a time.

#pragma once

#include <algorithm>
#include <cstdint>

#include "vector.h"

namespace acu::ACU_INSTRUCTION_SET {

// Both sides of a square of 16 x 16 floats fit in 32 cache lines.
constexpr int64_t kSquare = 16;

// to[c * to_step + r] = from[r * from_step + c] for r < rows, c < columns.
template <class T>
void transpose(int64_t rows, int64_t columns, const T* from, int64_t from_step, T* to, int64_t to_step) {
  for (int64_t r0 = 0; r0 < rows; r0 += kSquare) {
    const int64_t r1 = std::min(r0 + kSquare, rows);
    for (int64_t c0 = 0; c0 < columns; c0 += kSquare) {
      const int64_t c1 = std::min(c0 + kSquare, columns);
      if (r1 - r0 == kSquare && c1 - c0 == kSquare) {
        for (int64_t c = 0; c < kSquare; ++c) {
          T* line = to + (c0 + c) * to_step + r0;
          const T* source = from + r0 * from_step + c0 + c;
#pragma GCC unroll 16
          for (int64_t r = 0; r < kSquare; ++r) line[r] = source[r * from_step];
        }
      } else {
        for (int64_t c = c0; c < c1; ++c) {
          for (int64_t r = r0; r < r1; ++r) to[c * to_step + r] = from[r * from_step + c];
        }
      }
    }
  }
}

}  // namespace acu::ACU_INSTRUCTION_SET
