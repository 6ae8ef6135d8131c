// The ends of long sums: each thread of a kernel has left a row of partial sums, rows are added up in a fixed order.
//
// The first step gives each sum of kFoldedRows rows to a thread. The second gives what is left of one number, over all
// rows and all channels that share a position, to the lanes of a warp, which add up what they have as a tree.
#pragma once

#include "geometry.cuh"
#include "launch.cuh"
#include "tensors.cuh"

namespace acu::cuda {

constexpr int64_t kFoldedRows = 64;

// Body of a kernel: index = (group of rows) * width + place.
template <typename A>
struct FoldRows {
  const A* source;  // (rows, width)
  A* folded;        // (ceil(rows / kFoldedRows), width)
  int64_t rows;
  int64_t width;

  ACU_HOST_DEVICE void operator()(int64_t index) const {
    const int64_t group = index / width;
    const int64_t place = index - group * width;
    const int64_t begin = group * kFoldedRows;
    const int64_t end = begin + kFoldedRows < rows ? begin + kFoldedRows : rows;
    A sum = A(0);
    for (int64_t row = begin; row < end; ++row) sum += load(source + row * width + place);
    store(folded + index, sum);
  }
};

// Partial sums, a row for each stretch of pixels.
template <typename A>
struct C10_HIDDEN PartialSums {
  Tensor sums;  // (rows, width)
  int64_t rows;
  int64_t width;

  // Few enough rows for the last step.
  PartialSums folded(const Launcher& launch) const {
    if (rows <= kFoldedRows) return *this;
    const int64_t left = (rows + kFoldedRows - 1) / kFoldedRows;
    const PartialSums result{empty_like_kind(sums, {left, width}), left, width};
    launch(FoldRows<A>{data<A>(sums), data<A>(result.sums), rows, width}, left * width);
    return result;
  }
};

// Where in a row the pairs (y, x) of a synapse's positions stand: those of the entries with its position group.
struct SynapseEntries {
  int64_t group_step, synapse_step;  // from one position group, or synapse, to the next
  int64_t runs, run_step, run;       // so many runs of entries next to each other
};

// The gradient of the positions. Body of a kernel of warps: output = (position group * synapses + synapse) * 2 + axis.
template <typename A>
struct SumPositions {
  const A* pairs;  // of the first row
  int64_t rows;
  int64_t width;
  int64_t synapses;
  SynapseEntries entries;
  A* grad_positions;

  ACU_HOST_DEVICE A part(int64_t output, int lane) const {
    const int64_t axis = output % 2;
    const int64_t synapse = output / 2 % synapses;
    const int64_t position_group = output / 2 / synapses;
    const A* first = pairs + axis + 2 * (position_group * entries.group_step + synapse * entries.synapse_step);
    const int64_t in_row = entries.runs * entries.run;
    A sum = A(0);
    for (int64_t number = lane; number < rows * in_row; number += kLanes) {
      const int64_t row = number / in_row;
      const int64_t entry = number - row * in_row;
      const int64_t run = entry / entries.run;
      sum += load(first + row * width + 2 * (run * entries.run_step + entry - run * entries.run));
    }
    return sum;
  }
  ACU_HOST_DEVICE void finish(int64_t output, A sum) const { store(grad_positions + output, sum); }
};

// Adds a slice's sums to those of the slices before it.
template <typename A>
struct AddSlice {
  const A* slice;
  A* total;

  ACU_HOST_DEVICE void operator()(int64_t index) const {
    store(total + index, load(total + index) + load(slice + index));
  }
};

}  // namespace acu::cuda
