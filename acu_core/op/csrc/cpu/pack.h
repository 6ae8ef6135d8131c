// The weight (O, C/groups, K) in the order in which the micro-kernel reads it, once a call: panels of output channels
// for forward, panels of columns for backward. The gradient of the weight comes back in the order of backward.

#pragma once

#include <algorithm>
#include <utility>

#include "element.h"
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

// Where in the weight an output, a channel that it reads and a synapse are: elements from each to the next. The weight of a
// mirrored convolution is that of the convolution itself.
struct WeightSteps {
  int64_t output, channel, synapses;

  explicit WeightSteps(const Geometry& g)
      : output(g.channels_per_group() * g.synapses), channel(g.synapses), synapses(g.synapses) {
    if (!g.mirrored()) return;
    synapses = output = g.synapses / g.shapes;
    channel = g.outputs * synapses;
  }
};

// Where each column of a block is found in the weight of the segment's first output, in the order of the columns (see
// chunk_channels); -1: a padded channel, which has none.
inline std::vector<int64_t> columns_in_weight(const Plan& plan, const SegmentPlan& part, const Block& block) {
  const Geometry& g = plan.geometry;
  std::vector<int64_t> places;
  const WeightSteps steps(g);
  const int64_t first = part.segment.out_begin * steps.output;
  for (int64_t c = block.channel_begin; c < block.channel_end;) {
    const int64_t together = chunk_channels(plan.sizes, block.channel_end - c);
    for (int64_t k = block.synapse_begin; k < block.synapse_end; ++k) {
      for (int64_t i = c; i < c + together; ++i) {
        const int64_t channel = g.first_channel(k) + i - part.segment.in_begin;
        places.push_back(i < g.channels ? first + channel * steps.channel + k % steps.synapses : -1);
      }
    }
    c += together;
  }
  return places;
}

// The columns of a block by channels and then synapses, as they stand in the weight: so each line of it is read once, not
// once for each synapse.
inline std::vector<int64_t> columns_by_channel(const Plan& plan, const Block& block) {
  std::vector<int64_t> order;
  for (int64_t c = block.channel_begin; c < block.channel_end;) {
    const int64_t together = chunk_channels(plan.sizes, block.channel_end - c);
    const int64_t first = (c - block.channel_begin) * block.synapses();
    for (int64_t i = 0; i < together; ++i) {
      for (int64_t k = 0; k < block.synapses(); ++k) order.push_back(first + k * together + i);
    }
    c += together;
  }
  return order;
}

// Calls f(place in the packed weight, place in the weight) for every column and output where there are few channels; -1: there
// is none. [vector of outputs][synapse, channel][lane].
template <class F>
void for_each_of_few_channels(const Plan& plan, const SegmentPlan& part, const Block& block, const F& f) {
  const Geometry& g = plan.geometry;
  const int64_t lanes = plan.sizes.vector;
  int64_t place = block.weight_offset;
  for (int64_t first = 0; first < part.outputs(); first += lanes) {
    for (int64_t k = 0; k < g.synapses; ++k) {
      for (int64_t c = 0; c < g.channels; ++c) {
        for (int64_t o = first; o < first + lanes; ++o, ++place) {
          f(place, o < part.outputs() ? ((part.segment.out_begin + o) * g.channels + c) * g.synapses + k : -1);
        }
      }
    }
  }
}

// The same for the transposed weight: [vector of synapses and channels][output][lane].
template <class F>
void for_each_transposed_of_few_channels(const Plan& plan, const SegmentPlan& part, const Block& block, const F& f) {
  const Geometry& g = plan.geometry;
  const int64_t lanes = plan.sizes.vector;
  int64_t place = block.transposed_offset;
  for (int64_t first = 0; first < block.columns(); first += lanes) {
    for (int64_t o = part.segment.out_begin; o < part.segment.out_end; ++o) {
      for (int64_t i = first; i < first + lanes; ++i, ++place) {
        const int64_t k = i / g.channels, c = i % g.channels;
        f(place, i < block.columns() ? (o * g.channels + c) * g.synapses + k : -1);
      }
    }
  }
}

// [panel of outputs][column][lane].
template <class T, class E, class Parallel>
void pack_weight(const Plan& plan, const E* weight, T* packed, const Parallel& parallel) {
  if (plan.few_channels) {
    over_blocks(plan, parallel, [&](const SegmentPlan& part, const Block& block) {
      for_each_of_few_channels(plan, part, block, [&](int64_t to, int64_t from) {
        packed[to] = from < 0 ? T(0) : widen(weight[from]);
      });
    });
    return;
  }
  const int64_t output_step = WeightSteps(plan.geometry).output, panel = plan.panel;
  over_blocks(plan, parallel, [&](const SegmentPlan& part, const Block& block) {
    const std::vector<int64_t> places = columns_in_weight(plan, part, block);
    const int64_t columns = block.columns(), outputs = part.outputs();
    T* to = packed + block.weight_offset;
    const std::vector<int64_t> order = columns_by_channel(plan, block);
    for (int64_t first = 0; first < outputs; first += panel, to += columns * panel) {
      const int64_t lanes = std::min(panel, outputs - first);
      for (const int64_t i : order) {
        T* lane = to + i * panel;
        const int64_t present = places[i] >= 0 ? lanes : 0;
        for (int64_t o = 0; o < present; ++o) lane[o] = widen(weight[places[i] + (first + o) * output_step]);
        std::fill(lane + present, lane + panel, T(0));
      }
    }
  });
}

// Calls f(place in the transposed weight, place in the weight) for every column of a block; -1: there is none.
// [panel of columns][output][lane].
template <class F>
void for_each_transposed(const Plan& plan, const SegmentPlan& part, const Block& block, const F& f) {
  if (plan.few_channels) return for_each_transposed_of_few_channels(plan, part, block, f);
  const std::vector<int64_t> places = columns_in_weight(plan, part, block);
  const int64_t output_step = WeightSteps(plan.geometry).output, panel = plan.panel;
  const int64_t columns = block.columns();
  const int64_t begin = block.transposed_offset, outputs = part.outputs();
  // One output after the other, whose weights stand next to each other.
  for (int64_t o = 0; o < outputs; ++o) {
    int64_t to = begin + o * panel;
    for (int64_t first = 0; first < columns; first += panel, to += outputs * panel) {
      for (int64_t lane = 0; lane < panel; ++lane) {
        const int64_t i = first + lane;
        f(to + lane, i < columns && places[i] >= 0 ? places[i] + o * output_step : -1);
      }
    }
  }
}

// The same for the gradient of the weight as the slots sum it.
template <class F>
void for_each_summed(const Plan& plan, const SegmentPlan& part, const Block& block, const F& f) {
  if (plan.few_channels) return for_each_of_few_channels(plan, part, block, f);
  for_each_transposed(plan, part, block, f);
}

template <class T, class E, class Parallel>
void pack_transposed_weight(const Plan& plan, const E* weight, T* packed, const Parallel& parallel) {
  over_blocks(plan, parallel, [&](const SegmentPlan& part, const Block& block) {
    for_each_transposed(plan, part, block, [&](int64_t to, int64_t from) {
      packed[to] = from < 0 ? T(0) : widen(weight[from]);
    });
  });
}

}  // namespace acu
