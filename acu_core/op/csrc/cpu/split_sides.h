// The sides of products in tile registers, split (split.h): columns and weights with their depth along the rows of what they are
// split from, pixels and gradients with it across.

#pragma once

#include "tile_product.h"
#include "vector.h"

namespace acu::ACU_INSTRUCTION_SET {

// Elements of a side that is one tile wide.
constexpr int64_t side_size(int64_t depth) { return ceil_div(depth, kTileDepth) * kParts * kTileElements; }

// A side as split_columns leaves it: [tile][step][part].
inline Side packed_side(const uint16_t* tiles, int64_t depth) {
  return {tiles, kTileElements, kParts * kTileElements, side_size(depth)};
}

// A side as split_rows leaves it: [step][part][tile].
inline Side rows_side(const uint16_t* tiles, int64_t count) {
  return {tiles, count * kTileElements, kParts * count * kTileElements, kTileElements};
}

// Splits the rows of a depth, one tile wide: f(row) are 16 floats of it.
template <HalfStep HALF, class F>
ACU_INLINE void split_columns(int64_t depth, uint16_t* to, const F& f) {
  using V = Wide<float>::Vector;
  int64_t row = 0;
  for (; row + kTileDepth <= depth; row += kTileDepth, to += kParts * kTileElements) {
    stay_awake();
    for (int64_t j = 0; j < kTileSide; ++j) {
      write_step(f(row + j), f(row + kTileSide + j), to + j * kTileDepth, kTileElements);
    }
  }
  const int64_t left = depth - row;
  for (int64_t j = 0; j < kTileSide && left > 0; ++j) {
    const V low = j < left ? f(row + j) : V{};
    if (left <= kTileSide) {
      write_half_step<HALF>(low, to + j * kTileDepth, kTileElements);
    } else {
      write_step(low, kTileSide + j < left ? f(row + kTileSide + j) : V{}, to + j * kTileDepth, kTileElements);
    }
  }
}

// See Kernels.
inline bool split_weight(int64_t depth, int64_t width, const float* packed, uint16_t* to) {
  const TileRegisters registers;
  FiniteCheck check;
  for (int64_t column = 0; column < width; column += kTileSide, to += side_size(depth)) {
    const float* from = packed + column / kPanel<float> * depth * kPanel<float> + column % kPanel<float>;
    split_columns<HalfStep::kRight>(depth, to, [&](int64_t row) {
      const auto value = load<Wide<float>>(from + row * kPanel<float>);
      check.look_at_parts(value);
      return value;
    });
  }
  return check.is_good();
}

inline __attribute__((noinline)) void write_steps(int64_t rows, const float* low, const float* high, int64_t step,
                                                  uint16_t* to, int64_t part) {
#pragma GCC unroll 2
  for (int64_t row = 0; row < rows; ++row, low += step, high += step, to += kTileDepth) {
    write_step(load<Wide<float>>(low), load<Wide<float>>(high), to, part);
  }
}

// Of the second vector some are not there.
inline __attribute__((noinline)) void write_last_steps(int64_t rows, const float* low, const float* high, int64_t present,
                                                       int64_t step, uint16_t* to, int64_t part) {
  for (int64_t row = 0; row < rows; ++row, low += step, high += step, to += kTileDepth) {
    write_step(load<Wide<float>>(low), load_first(high, present), to, part);
  }
}

inline __attribute__((noinline)) void write_half_steps(int64_t rows, const float* from, int64_t present, int64_t step,
                                                       uint16_t* to, int64_t part) {
  for (int64_t row = 0; row < rows; ++row, from += step, to += kTileDepth) {
    write_half_step<HalfStep::kLeft>(present == kTileSide ? load<Wide<float>>(from) : load_first(from, present), to, part);
  }
}

// What is left of the depth from vector v on, less than a step.
template <class Place>
ACU_INLINE void split_end(int64_t rows, int64_t depth, int64_t step, const Place& place, int64_t v, uint16_t* to,
                          int64_t part) {
  const int64_t left = depth - v * kTileSide;
  if (left > kTileSide) {
    write_last_steps(rows, place(v), place(v + 1), left - kTileSide, step, to, part);
  } else if (left > 0) {
    write_half_steps(rows, place(v), left, step, to, part);
  }
}

// Splits rows of `depth` floats. place(v): vector v of the first row, `step` elements from those of the next.
template <class Place>
ACU_INLINE void split_rows(int64_t rows, int64_t depth, int64_t step, int64_t tiles, const Place& place, uint16_t* to) {
  const int64_t part = tiles * kTileElements;
  int64_t v = 0;
  for (; (v + 2) * kTileSide <= depth; v += 2, to += kParts * part) {
    stay_awake();
    write_steps(rows, place(v), place(v + 1), step, to, part);
  }
  split_end(rows, depth, step, place, v, to, part);
}

}  // namespace acu::ACU_INSTRUCTION_SET
