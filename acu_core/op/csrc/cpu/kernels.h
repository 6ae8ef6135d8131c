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
void forward(const ForwardProblem<T>& problem, int64_t portion, int64_t portions) {
  const Plan& plan = problem.plan;
  const int64_t begin = plan.first_tile(portion, portions), end = plan.first_tile(portion + 1, portions);
  if (begin == end) return;
  if (plan.geometry.depthwise()) return forward_depthwise(problem, begin, end);
  plan.few_channels ? forward_few_channels(problem, begin, end) : forward_tiles(problem, begin, end);
}

template <class T>
void backward(const BackwardProblem<T>& problem, int64_t slot, int64_t slots, SlotSums<T>& sums) {
  const Plan& plan = problem.plan;
  sums.positions.assign(2 * plan.geometry.position_groups * plan.geometry.synapses, 0.0);
  sums.bias.assign(problem.need_bias ? plan.geometry.outputs : 0, 0.0);
  if (problem.need_weight) {
    sums.weight = Buffer<T>(plan.gradient_size());
    std::fill_n(sums.weight.data(), plan.gradient_size(), T(0));
  }
  const int64_t begin = plan.first_tile(slot, slots), end = plan.first_tile(slot + 1, slots);
  if (begin == end) return;
  if (plan.geometry.depthwise()) return backward_depthwise(problem, begin, end, sums);
  plan.few_channels ? backward_few_channels(problem, begin, end, sums) : backward_tiles(problem, begin, end, sums);
}

template <class T>
const Kernels<T>& table() {
  static const Kernels<T> kernels{{Wide<T>::kLanes, kPanel<T>, ACU_TILE_PIXELS, ACU_BLOCK_COLUMNS, ACU_INTERLEAVED_IMAGES},
                                  &forward<T>, &backward<T>, &forward_by_spreading<T>};
  return kernels;
}

template const Kernels<float>& table<float>();
template const Kernels<double>& table<double>();

}  // namespace acu::ACU_INSTRUCTION_SET
