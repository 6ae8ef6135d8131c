// A float as the sum of three bfloat16, its parts: the nearest one, the first 8 bits of what that leaves, and the rest. Products
// of floats are then sums of products of parts, which are exact in float:
//
//   a b = a0 b0 + (a0 b1 + a1 b0) + (a0 b2 + a1 b1 + a2 b0) + ...,
//
// and what follows is below 2^-22 of a b, of either sign, its root mean square 2^-26. (Henry, Tang and Heinecke, "Leveraging
// the bfloat16 artificial intelligence datatype for higher-precision computations", 2019.)
//
// A float that is inf or NaN, or so large that its nearest is inf, has parts that make NaN of every product, also of those with
// zero: so a result that is not finite says that something was not, and who has it computes anew without parts.

#pragma once

#include "tile_registers.h"
#include "vector.h"

namespace acu::ACU_INSTRUCTION_SET {

constexpr int kParts = 3;

// How the last 16 of a depth are put down, where the other half of a step would be empty: as tiles of two parts each, of which
// three products do the work of six. Left (0, 0), (1, 0), (1, 2) times right (0, 1), (0, 2), (1, 0).
enum class HalfStep { kLeft, kRight };

// 16 floats' parts, as floats with 16 bits that are zero.
struct SplitVector {
  using S = Wide<float>;
  using V = S::Vector;
  using Bits = S::Bits;
  static_assert(S::kLanes == kTileSide);

  Bits parts[kParts];

  ACU_INLINE explicit SplitVector(V value) {
    constexpr uint32_t kFirst = 0xffff0000u, kHalf = 0x8000u;
    parts[0] = (reinterpret_cast<Bits>(value) + kHalf) & kFirst;
    value -= reinterpret_cast<V>(parts[0]);
    parts[1] = reinterpret_cast<Bits>(value) & kFirst;
    value -= reinterpret_cast<V>(parts[1]);
    parts[2] = reinterpret_cast<Bits>(value);
  }
};

// A row of a tile: 16 numbers of 16 bits and 16 others, side by side in 32 bits each.
ACU_INLINE void write_pairs(SplitVector::Bits low, SplitVector::Bits high, uint16_t* to) {
  *reinterpret_cast<SplitVector::S::Mask*>(to) = (low >> 16) | high;
}

// 32 elements of a product's depth, 16 and 16, as one row of a tile of each part. `to`: the row of the first part's tile; those of
// the others follow, part_step elements apart.
ACU_INLINE void write_step(SplitVector::V low, SplitVector::V high, uint16_t* to, int64_t part_step) {
  const SplitVector a(low), b(high);
#pragma GCC unroll 4
  for (int i = 0; i < kParts; ++i) write_pairs(a.parts[i], b.parts[i], to + i * part_step);
}

template <HalfStep HALF>
ACU_INLINE void write_half_step(SplitVector::V value, uint16_t* to, int64_t part_step) {
  const SplitVector a(value);
  constexpr bool kLeft = HALF == HalfStep::kLeft;
  write_pairs(a.parts[0], a.parts[kLeft ? 0 : 1], to);
  write_pairs(a.parts[kLeft ? 1 : 0], a.parts[kLeft ? 0 : 2], to + part_step);
  write_pairs(a.parts[1], a.parts[kLeft ? 2 : 0], to + 2 * part_step);
}

// Whether all numbers that it looked at are finite: its sum of them times zero is not NaN.
class FiniteCheck {
 public:
  ACU_INLINE void look_at(Wide<float>::Vector value) { check_ += value * 0.0f; }

  // The same of their parts: the nearest bfloat16 of the largest floats is inf, and so is what this makes of them.
  ACU_INLINE void look_at_parts(Wide<float>::Vector value) { look_at(value * (1 + 0x1p-7f)); }

  bool is_good() const {
    bool good = true;
    for (int64_t i = 0; i < Wide<float>::kLanes; ++i) good = good && check_[i] == 0.0f;
    return good;
  }

 private:
  Wide<float>::Vector check_{};
};

// The first `count` of a vector's elements, zeros behind them.
ACU_INLINE Wide<float>::Vector load_first(const float* from, int64_t count) {
  using S = Wide<float>;
  if (count >= S::kLanes) return load<S>(from);
  float part[S::kLanes] = {};
  for (int64_t i = 0; i < count; ++i) part[i] = from[i];
  return load<S>(part);
}

}  // namespace acu::ACU_INSTRUCTION_SET
