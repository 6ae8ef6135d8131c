// The weight of a call for kernels that split floats (split.h).

#pragma once

#include <atomic>
#include <optional>

#include "pack.h"
#include "problem.h"
#include "spread_plan.h"

namespace acu {

// All blocks of a packed weight, or of a transposed one, split. Nothing where it isn't finite.
template <class T, class Parallel>
std::optional<Buffer<uint16_t>> split_weight(const Kernels<T>& kernel, const Plan& plan, const T* packed, bool transposed,
                                             const Parallel& parallel) {
  Buffer<uint16_t> split(transposed ? plan.split_transposed_size : plan.split_size);
  std::atomic<bool> finite = true;
  over_blocks(plan, parallel, [&](const SegmentPlan& part, const Block& block) {
    const T* from = packed + (transposed ? block.transposed_offset : block.weight_offset);
    uint16_t* to = split.data() + (transposed ? block.split_transposed_offset : block.split_offset);
    const int64_t depth = transposed ? part.outputs() : block.columns();
    if (!kernel.split_weight(depth, transposed ? block.columns() : part.outputs(), from, to)) finite = false;
  });
  return finite ? std::optional(std::move(split)) : std::nullopt;
}

// The same of the weight for spreading, a panel after the other.
template <class T, class Parallel>
std::optional<Buffer<uint16_t>> split_for_spread(const Kernels<T>& kernel, const SpreadPlan& plan, const T* packed,
                                                 const Parallel& parallel) {
  const int64_t depth = plan.geometry.channels;
  Buffer<uint16_t> split(plan.panels * split_elements(plan.panel, depth));
  std::atomic<bool> finite = true;
  parallel(plan.panels, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      uint16_t* to = split.data() + p * split_elements(plan.panel, depth);
      if (!kernel.split_weight(depth, plan.panel, packed + p * depth * plan.panel, to)) finite = false;
    }
  });
  return finite ? std::optional(std::move(split)) : std::nullopt;
}

}  // namespace acu
