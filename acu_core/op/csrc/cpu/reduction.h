// The reduction: what every slot summed for itself, added in the order of the slots. No atomics, so the same bits on
// every run with the same number of slots.

#pragma once

#include "pack.h"
#include "problem.h"

namespace acu {

template <class T, class Parallel>
void reduce_weight(const Plan& plan, const std::vector<SlotSums<T>>& sums, T* grad_weight, const Parallel& parallel) {
  const auto add_up = [&](int64_t from, int64_t to) {
    if (to < 0) return;
    T sum = sums[0].weight.data()[from];
    for (std::size_t slot = 1; slot < sums.size(); ++slot) sum += sums[slot].weight.data()[from];
    grad_weight[to] = sum;
  };
  if (plan.geometry.depthwise()) {
    for (int64_t i = 0; i < plan.geometry.channels * plan.geometry.synapses; ++i) add_up(i, i);
    return;
  }
  over_blocks(plan, parallel, [&](const SegmentPlan& part, const Block& block) {
    for_each_transposed(plan, part, block, add_up);
  });
}

template <class T>
void reduce_positions(const std::vector<SlotSums<T>>& sums, int64_t count, T* grad_positions) {
  for (int64_t i = 0; i < count; ++i) {
    double sum = 0;
    for (const SlotSums<T>& slot : sums) sum += slot.positions[i];
    grad_positions[i] = static_cast<T>(sum);
  }
}

template <class T>
void reduce_bias(const std::vector<SlotSums<T>>& sums, int64_t count, T* grad_bias) {
  for (int64_t i = 0; i < count; ++i) {
    double sum = 0;
    for (const SlotSums<T>& slot : sums) sum += slot.bias[i];
    grad_bias[i] = static_cast<T>(sum);
  }
}

// Adds the rows of images that more than one slot worked on.
template <class T, class Parallel>
void reduce_partial_images(const Plan& plan, const std::vector<SlotSums<T>>& sums, bool channels_last, T* grad_input,
                           const Parallel& parallel) {
  const Geometry& g = plan.geometry;
  const int64_t row_size = g.width * plan.padded_channels, pixels = g.height * g.width;
  for (const SlotSums<T>& slot : sums) {
    const PartialImage<T>& partial = slot.partial;
    if (partial.image < 0) continue;
    T* image = grad_input + partial.image * g.channels * pixels;
    const int64_t channel_step = channels_last ? 1 : pixels, pixel_step = channels_last ? g.channels : 1;
    parallel(partial.row_end - partial.row_begin, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const T* from = partial.rows.data() + r * row_size;
        T* to = image + (partial.row_begin + r) * g.width * pixel_step;
        for (int64_t x = 0; x < g.width; ++x) {
          for (int64_t c = 0; c < g.channels; ++c) to[x * pixel_step + c * channel_step] += from[x * plan.padded_channels + c];
        }
      }
    });
  }
}

}  // namespace acu
