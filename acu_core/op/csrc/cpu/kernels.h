// Everything that is compiled once for each instruction set. The file that includes this one sets the target and
// defines ACU_INSTRUCTION_SET, ACU_VECTOR_BYTES, ACU_PANEL_VECTORS, ACU_WALK_VECTORS, ACU_MICRO_ROWS, ACU_TILE_PIXELS,
// ACU_BLOCK_COLUMNS and ACU_INTERLEAVED_IMAGES.

#pragma once

#include "depthwise_tile.h"
#include "few_channels.h"
#include "few_channels_backward.h"
#include "spread.h"
#include "tile.h"
#include "tile_backward.h"

namespace acu::ACU_INSTRUCTION_SET {

template <class T>
bool forward(const ForwardProblem<T>& problem, int64_t portion, int64_t portions) {
  const Plan& plan = problem.plan;
  const int64_t begin = plan.first_tile(portion, portions), end = plan.first_tile(portion + 1, portions);
  if (begin == end) return true;
  if (!plan.geometry.depthwise() && !plan.few_channels) return forward_tiles(problem, begin, end);
  plan.few_channels ? forward_few_channels(problem, begin, end) : forward_depthwise(problem, begin, end);
  return true;
}

template <class T>
bool backward(const BackwardProblem<T>& problem, int64_t slot, int64_t slots, SlotSums<T>& sums) {
  const Plan& plan = problem.plan;
  sums.start(problem);
  const int64_t begin = plan.first_tile(slot, slots), end = plan.first_tile(slot + 1, slots);
  if (begin == end) return true;
  if (!plan.geometry.depthwise() && !plan.few_channels) return backward_tiles(problem, begin, end, sums);
  plan.few_channels ? backward_few_channels(problem, begin, end, sums) : backward_depthwise(problem, begin, end, sums);
  return true;
}

inline bool spreads(const Geometry& g, int64_t) { return g.position_groups > 1 && SpreadPlan::is_possible(g); }

template <class T>
const Kernels<T>& table() {
  static const Kernels<T> kernels{{Wide<T>::kLanes, kPanel<T>, ACU_TILE_PIXELS, ACU_BLOCK_COLUMNS, ACU_INTERLEAVED_IMAGES},
                                  &forward<T>, &backward<T>, &forward_by_spreading<T>, &spreads};
  return kernels;
}

template const Kernels<float>& table<float>();
template const Kernels<double>& table<double>();

}  // namespace acu::ACU_INSTRUCTION_SET
