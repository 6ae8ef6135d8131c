// The reduction: what every slot summed for itself, added in the order of the slots. No atomics, so the same bits on
// every run with the same number of slots.

#pragma once

#include "pack.h"
#include "problem.h"

namespace acu {

template <class T, class E, class Parallel>
void reduce_weight(const Plan& plan, const std::vector<SlotSums<T>>& sums, E* grad_weight, const Parallel& parallel) {
  const auto add_up = [&](int64_t from, int64_t to) {
    if (to < 0) return;
    T sum = sums[0].weight.data()[from];
    for (std::size_t slot = 1; slot < sums.size(); ++slot) sum += sums[slot].weight.data()[from];
    grad_weight[to] = round_to<E>(sum);
  };
  if (plan.geometry.depthwise()) {
    for (int64_t i = 0; i < plan.gradient_size(); ++i) add_up(i, i);
    return;
  }
  over_blocks(plan, parallel, [&](const SegmentPlan& part, const Block& block) {
    for_each_summed(plan, part, block, add_up);
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

template <class T, class E>
void reduce_bias(const std::vector<SlotSums<T>>& sums, int64_t count, E* grad_bias) {
  for (int64_t i = 0; i < count; ++i) {
    double sum = 0;
    for (const SlotSums<T>& slot : sums) sum += slot.bias[i];
    grad_bias[i] = round_to<E>(static_cast<T>(sum));
  }
}

// Adds up and writes the rows of images to which more than one slot has added.
template <class T, class E, class Parallel>
void reduce_shared_rows(const Plan& plan, const std::vector<SlotSums<T>>& sums, bool channels_last, E* grad_input,
                        const Parallel& parallel) {
  const Geometry& g = plan.geometry;
  const int64_t pixels = g.height * g.width;
  const int64_t channel_step = channels_last ? 1 : pixels, pixel_step = channels_last ? g.channels : 1;
  std::vector<const SharedRows<T>*> all;
  for (const SlotSums<T>& slot : sums) {
    for (const SharedRows<T>& shared : slot.shared) all.push_back(&shared);
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    parallel(all[i]->end - all[i]->begin, [&](int64_t begin, int64_t end) {
      std::vector<const T*> parts;
      for (int64_t y = all[i]->begin + begin; y < all[i]->begin + end; ++y) {
        parts.clear();
        bool is_first = true;
        for (std::size_t j = 0; j < all.size(); ++j) {
          const SharedRows<T>& other = *all[j];
          if (other.image != all[i]->image || y < other.begin || y >= other.end) continue;
          is_first = is_first && j >= i;
          parts.push_back(other.rows.data() + (y - other.begin) * plan.row_size() + plan.row_margin);
        }
        if (!is_first) continue;  // written with the first that has it
        E* to = grad_input + all[i]->image * g.channels * pixels + y * g.width * pixel_step;
        for (int64_t x = 0; x < g.width; ++x) {
          for (int64_t c = 0; c < g.channels; ++c) {
            T sum = parts[0][x * plan.padded_channels + c];
            for (std::size_t j = 1; j < parts.size(); ++j) sum += parts[j][x * plan.padded_channels + c];
            to[x * pixel_step + c * channel_step] = round_to<E>(sum);
          }
        }
      }
    });
  }
}

}  // namespace acu
