// The weight of a call for kernels that split floats (split.h).

#pragma once

#include <atomic>
#include <optional>

#include "pack.h"
#include "problem.h"

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
    if (!kernel.split_weight(part, block, transposed, from, to)) finite = false;
  });
  return finite ? std::optional(std::move(split)) : std::nullopt;
}

}  // namespace acu
