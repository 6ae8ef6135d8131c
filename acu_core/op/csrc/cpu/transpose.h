// Between the two layouts: contiguous (a plane per channel) and channels_last (the channels of a pixel together). The
// kernels work in channels_last; tensors of the other layout pass through here a tile or an image at a time.

#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "vector.h"

namespace acu::ACU_INSTRUCTION_SET {

// Exchanges the upper right and the lower left groups of H lanes in every pair of groups of the vectors a and b.
template <int H, class V, std::size_t... LANE>
ACU_INLINE void exchange(V& a, V& b, std::index_sequence<LANE...>) {
  constexpr std::size_t n = sizeof...(LANE);
#if defined(__has_builtin) && __has_builtin(__builtin_shufflevector)
  const V first = __builtin_shufflevector(a, b, (LANE & H ? n + LANE - H : LANE)...);
  const V second = __builtin_shufflevector(a, b, (LANE & H ? n + LANE : LANE + H)...);
#else
  const V first{(LANE & H ? b[LANE - H] : a[LANE])...}, second{(LANE & H ? b[LANE] : a[LANE + H])...};
#endif
  a = first;
  b = second;
}

// A square of as many vectors as one has lanes, in registers: halves are exchanged, then quarters, and so on.
template <class S, int H = S::kLanes / 2>
ACU_INLINE void transpose_in_registers(typename S::Vector (&v)[S::kLanes]) {
  if constexpr (H > 0) {
#pragma GCC unroll 16
    for (int i = 0; i < S::kLanes; ++i) {
      if ((i & H) == 0) exchange<H>(v[i], v[i + H], std::make_index_sequence<S::kLanes>());
    }
    transpose_in_registers<S, H / 2>(v);
  }
}

// to[c * to_step + r] = from[r * from_step + c] for r < rows, c < columns, widened or rounded where one has 16 bits.
//
// 512 bytes of a few rows before the next: planes of 32 x 32 pixels are 4 KiB apart, so that lines of more than eight of
// them throw each other out of the cache; and along a row the processor fetches ahead. (64 bytes took twice as long.)
template <class From, class To>
void transpose(int64_t rows, int64_t columns, const From* from, int64_t from_step, To* to, int64_t to_step) {
  using S = Wide<Widened<From>>;
  constexpr int64_t kSide = S::kLanes, kRun = 512 / sizeof(From);
  const int64_t whole_rows = rows / kSide * kSide, whole_columns = columns / kSide * kSide;
  for (int64_t run = 0; run < whole_columns; run += kRun) {
    const int64_t run_end = std::min(run + kRun, whole_columns);
    for (int64_t r = 0; r < whole_rows; r += kSide) {
      for (int64_t c = run; c < run_end; c += kSide) {
        typename S::Vector square[kSide];
#pragma GCC unroll 16
        for (int64_t i = 0; i < kSide; ++i) square[i] = load_widened<S>(from + (r + i) * from_step + c);
        transpose_in_registers<S>(square);
#pragma GCC unroll 16
        for (int64_t i = 0; i < kSide; ++i) store_rounded<S>(to + (c + i) * to_step + r, square[i]);
      }
    }
  }
  for (int64_t c = 0; c < columns; ++c) {
    for (int64_t r = c < whole_columns ? whole_rows : 0; r < rows; ++r) {
      to[c * to_step + r] = round_to<To>(widen(from[r * from_step + c]));
    }
  }
}

}  // namespace acu::ACU_INSTRUCTION_SET
