// What spreading multiplies: pixels of the input by the weight of all synapses, a panel at a time (spread_plan.h).

#pragma once

#include "micro_kernel.h"
#include "spread_plan.h"

#if ACU_TILE_REGISTERS
#include "split_sides.h"
#endif

namespace acu::ACU_INSTRUCTION_SET {

// By the micro-kernel.
template <class T>
class MicroPixelProducts {
 public:
  explicit MicroPixelProducts(const SpreadProblem<T>& problem, int64_t)
      : channels_(problem.plan.geometry.channels), weight_(problem.packed_weight) {}

  // Pixels x channels.
  void take_pixels(int64_t pixels, const T* input) {
    pixels_ = pixels;
    input_ = input;
  }

  // products[p][lane] = sum over c of input[p][c] * weight[panel][c][lane]
  void multiply(int64_t panel, T* products) const {
    const T* weight = weight_ + panel * channels_ * kPanel<T>;
    over_micro_rows(pixels_, [&](auto rows, int64_t p) {
      Accumulators<T, rows> sums;
      sums.template start<Result::kStore>(nullptr, 0);
      sums.add(channels_, input_ + p * channels_, channels_, 1, weight);
      sums.finish(products + p * kPanel<T>, kPanel<T>);
    });
  }

  static constexpr int64_t room(int64_t pixels) { return pixels; }
  void stay_awake() const {}

 private:
  int64_t channels_, pixels_ = 0;
  const T *weight_, *input_ = nullptr;
};

#if ACU_TILE_REGISTERS
// In tile registers, from floats that are split once for all panels (split.h).
class SplitPixelProducts {
 public:
  explicit SplitPixelProducts(const SpreadProblem<float>& problem, int64_t pixels)
      : channels_(problem.plan.geometry.channels), weight_(problem.split_weight),
        split_(room(pixels) / kTileSide * side_size(channels_)) {}

  void take_pixels(int64_t pixels, const float* input) {
    tiles_ = ceil_div(pixels, kTileSide);
    split_rows(pixels, channels_, channels_, tiles_, [&](int64_t v) { return input + v * kTileSide; }, split_.data());
  }

  void multiply(int64_t panel, float* products) {
    const Side left = rows_side(split_.data(), tiles_);
    const Side right = packed_side(weight_ + panel * split_elements(kPanel<float>, channels_), channels_);
    const auto place = [&](int64_t i, int64_t j) { return products + i * kTileSide * kPanel<float> + j * kTileSide; };
    if (channels_ <= kShallowDepth) {
      ShallowSums<kPanelVectors>::multiply(tiles_, channels_, left, right, kPanel<float>, place);
      return;
    }
    over_tile_sums(tiles_, kPanelVectors, [&](auto sums, int64_t i, int64_t j) {
      Nothing nothing;
      sums.multiply(channels_, left.from(i), right.from(j), unread_, nothing);
      sums.store(kPanel<float>, [&](int64_t row, int64_t column) { return place(i + row, j + column); });
    });
  }

  // Pixels that products of so many are written for: whole tiles.
  static constexpr int64_t room(int64_t pixels) { return round_up(pixels, kTileSide); }

  void stay_awake() {
    acu::ACU_INSTRUCTION_SET::stay_awake();
    store_tile<0>(unread_, 64);
  }

 private:
  int64_t channels_, tiles_ = 0;
  const uint16_t* weight_;
  TileRegisters registers_;
  Buffer<uint16_t> split_;
  alignas(64) uint16_t unread_[kTileElements];
};

template <class T>
using PixelProducts = SplitPixelProducts;  // of floats alone
#else
template <class T>
using PixelProducts = MicroPixelProducts<T>;
#endif

}  // namespace acu::ACU_INSTRUCTION_SET
