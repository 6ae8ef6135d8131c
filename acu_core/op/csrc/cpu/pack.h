// The weight (O, C/groups, K) in the order in which the micro-kernel reads it, once a call: panels of output channels
// for forward, panels of columns for backward. The gradient of the weight comes back in the order of backward.

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

// Where each column of a block is found in the weight of the segment's first output, in the order of the columns (see
// chunk_channels); -1: a padded channel, which has none. Depthwise has no padded channels.
inline std::vector<int64_t> columns_in_weight(const Plan& plan, const SegmentPlan& part, const Block& block) {
  const Geometry& g = plan.geometry;
  std::vector<int64_t> places;
  const int64_t first = part.segment.out_begin * g.channels_per_group() * g.synapses;
  for (int64_t c = block.channel_begin; c < block.channel_end;) {
    const int64_t together = chunk_channels(plan.widths, block.channel_end - c);
    for (int64_t k = block.synapse_begin; k < block.synapse_end; ++k) {
      for (int64_t i = c; i < c + together; ++i) {
        const int64_t channel = i - (g.depthwise() ? 0 : part.segment.in_begin);
        places.push_back(i < g.channels ? first + channel * g.synapses + k : -1);
      }
    }
    c += together;
  }
  return places;
}

// [panel of outputs][column][lane]; depthwise [column].
template <class T, class Parallel>
void pack_weight(const Plan& plan, const T* weight, T* packed, const Parallel& parallel) {
  const int64_t output_step = plan.geometry.channels_per_group() * plan.geometry.synapses, panel = plan.panel;
  over_blocks(plan, parallel, [&](const SegmentPlan& part, const Block& block) {
    const std::vector<int64_t> places = columns_in_weight(plan, part, block);
    const int64_t columns = block.columns(), outputs = part.outputs();
    T* to = packed + block.weight_offset;
    if (plan.geometry.depthwise()) {
      for (int64_t i = 0; i < columns; ++i) to[i] = weight[places[i]];
      return;
    }
    for (int64_t first = 0; first < outputs; first += panel) {
      for (int64_t i = 0; i < columns; ++i) {
        for (int64_t o = first; o < first + panel; ++o, ++to) {
          *to = o < outputs && places[i] >= 0 ? weight[places[i] + o * output_step] : T(0);
        }
      }
    }
  });
}

// Calls f(place in the transposed weight, place in the weight) for every column of a block; -1: there is none.
// [panel of columns][output][lane]; depthwise [column].
template <class F>
void for_each_transposed(const Plan& plan, const SegmentPlan& part, const Block& block, const F& f) {
  const std::vector<int64_t> places = columns_in_weight(plan, part, block);
  const int64_t output_step = plan.geometry.channels_per_group() * plan.geometry.synapses, panel = plan.panel;
  const int64_t columns = block.columns();
  int64_t to = block.transposed_offset;
  if (plan.geometry.depthwise()) {
    for (int64_t i = 0; i < columns; ++i) f(to + i, places[i]);
    return;
  }
  for (int64_t first = 0; first < columns; first += panel) {
    for (int64_t o = 0; o < part.outputs(); ++o) {
      for (int64_t i = first; i < first + panel; ++i, ++to) {
        f(to, i < columns && places[i] >= 0 ? places[i] + o * output_step : -1);
      }
    }
  }
}

template <class T, class Parallel>
void pack_transposed_weight(const Plan& plan, const T* weight, T* packed, const Parallel& parallel) {
  over_blocks(plan, parallel, [&](const SegmentPlan& part, const Block& block) {
    for_each_transposed(plan, part, block, [&](int64_t to, int64_t from) { packed[to] = from < 0 ? T(0) : weight[from]; });
  });
}

}  // namespace acu
