// The weight (O, C/groups, K) in the order in which the micro-kernel reads it, once a call: panels of output channels
// for forward, panels of columns for backward. The gradient of the weight comes back in the order of forward.

#pragma once

#include <utility>

#include "plan.h"

namespace acu {

// Calls f(segment, block) for every block, in parallel: `parallel(count, f)` runs f(begin, end) over [0, count), and is
// given by the caller, so that this file knows nothing of torch.
template <class Parallel, class F>
void over_blocks(const Plan& plan, const Parallel& parallel, const F& f) {
  std::vector<std::pair<const SegmentPlan*, const Block*>> blocks;
  for (const SegmentPlan& part : plan.segments) {
    for (const Block& block : part.blocks) blocks.emplace_back(&part, &block);
  }
  parallel(static_cast<int64_t>(blocks.size()), [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) f(*blocks[b].first, *blocks[b].second);
  });
}

// Calls f(place in the packed weight, place in the weight) for every element of a block.
template <class F>
void for_each_weight(const Plan& plan, const SegmentPlan& part, const Block& block, F f) {
  const Geometry& g = plan.geometry;
  if (g.depthwise()) {
    int64_t row = 0;
    for (int64_t k = block.synapse_begin; k < block.synapse_end; ++k) {
      for (int64_t c = block.channel_begin; c < block.channel_end; ++c, ++row) {
        f(block.weight_offset + row, c * g.synapses + k);
      }
    }
    return;
  }
  for (int64_t o = 0; o < part.outputs(); ++o) {
    const int64_t panel = o / plan.panel, lane = o % plan.panel;
    int64_t row = 0;
    for (int64_t k = block.synapse_begin; k < block.synapse_end; ++k) {
      for (int64_t c = block.channel_begin; c < block.channel_end; ++c, ++row) {
        const int64_t weight =
            ((part.segment.out_begin + o) * g.channels_per_group() + c - part.segment.in_begin) * g.synapses + k;
        f(block.weight_offset + (panel * block.columns() + row) * plan.panel + lane, weight);
      }
    }
  }
}

template <class T, class Parallel>
void pack_weight(const Plan& plan, const T* weight, T* packed, const Parallel& parallel) {
  over_blocks(plan, parallel, [&](const SegmentPlan& part, const Block& block) {
    if (part.outputs() % plan.panel != 0 && !plan.geometry.depthwise()) {  // lanes behind the last output
      std::fill_n(packed + block.weight_offset, round_up(part.outputs(), plan.panel) * block.columns(), T(0));
    }
    for_each_weight(plan, part, block, [&](int64_t to, int64_t from) { packed[to] = weight[from]; });
  });
}

// [panel of columns][output][lane]
template <class T, class Parallel>
void pack_transposed_weight(const Plan& plan, const T* weight, T* packed, const Parallel& parallel) {
  const Geometry& g = plan.geometry;
  // One row a block: there is nothing to transpose.
  if (g.depthwise()) return pack_weight(plan, weight, packed, parallel);
  over_blocks(plan, parallel, [&](const SegmentPlan& part, const Block& block) {
    if (block.columns() % plan.panel != 0) {
      std::fill_n(packed + block.transposed_offset, round_up(block.columns(), plan.panel) * part.outputs(), T(0));
    }
    int64_t row = 0;
    for (int64_t k = block.synapse_begin; k < block.synapse_end; ++k) {
      for (int64_t c = block.channel_begin; c < block.channel_end; ++c, ++row) {
        T* to = packed + block.transposed_offset + row / plan.panel * part.outputs() * plan.panel + row % plan.panel;
        const T* from =
            weight + (part.segment.out_begin * g.channels_per_group() + c - part.segment.in_begin) * g.synapses + k;
        for (int64_t o = 0; o < part.outputs(); ++o) to[o * plan.panel] = from[o * g.channels_per_group() * g.synapses];
      }
    }
  });
}

}  // namespace acu
