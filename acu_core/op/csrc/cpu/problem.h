// The tensors of a call as plain pointers, and what a slot hands to the reduction. Shared by all instruction sets.

#pragma once

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "element.h"
#include "plan.h"

namespace acu {

// Scratch memory on a cache line of its own. Not cleared: every user writes before it reads.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t size) {
    const std::size_t bytes = round_up(std::max<int64_t>(size, 1) * static_cast<int64_t>(sizeof(T)), 64);
    data_.reset(static_cast<T*>(std::aligned_alloc(64, bytes)));
    if (!data_) throw std::bad_alloc();
  }
  T* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(T* memory) const { std::free(memory); }
  };
  std::unique_ptr<T, Free> data_;
};

template <class T>
class Cells;  // cells.h
template <class T>
struct SpreadProblem;  // spread_plan.h

template <class T>
struct ForwardProblem {
  const Plan& plan;
  const Synapse<T>* synapses;  // [position group][synapse]
  const void* input;           // as the layout says, and so for the other images
  const T* packed_weight;
  const T* bias;  // or null
  void* output;
  Layout layout;
  const Cells<T>* cells = nullptr;  // of a depthwise convolution
  const uint16_t* split_weight = nullptr;  // where the kernels split it
};

template <class T>
struct BackwardProblem {
  const Plan& plan;
  const Synapse<T>* synapses;
  const void* grad_output;
  const void* input;
  const T* transposed_weight;
  void* grad_input;  // or null when not needed; every element is written
  bool need_weight, need_positions, need_bias;
  Layout layout;
  const Cells<T>* cells = nullptr;  // of a depthwise convolution
  const uint16_t* split_weight = nullptr;
};

// Of a mirrored plan: "forward" makes the gradient of the input from that of the output, and "backward" the other gradients, where
// the gradient of the output stands for the input and the input for the gradient of the output.
template <class T>
struct MirroredProblem {
  const ForwardProblem<T>& forward;  // its output is null when not needed
  const BackwardProblem<T>& backward;
  bool need_bias;
};

// Rows of an image's gradient that more than one slot adds to, where a slot begins or ends within an image: kept apart, so
// that no two slots write one place, and added in the order of the slots at the end.
template <class T>
struct SharedRows {
  int64_t image, begin, end;
  Buffer<T> rows;  // as the kernels see an image: channels_last, with padded channels and margins
};

template <class T>
struct SlotSums {
  Buffer<T> weight;               // in the order of for_each_summed (pack.h); depthwise (C, 1, K)
  std::vector<double> positions;  // [position group][synapse][y, x]
  std::vector<double> bias;
  std::vector<SharedRows<T>> shared;  // by image and row

  void start(const BackwardProblem<T>& problem) {
    const Plan& plan = problem.plan;
    positions.assign(2 * plan.geometry.position_groups * plan.geometry.synapses, 0.0);
    bias.assign(problem.need_bias ? plan.geometry.outputs : 0, 0.0);
    shared.clear();
    if (!problem.need_weight) return;
    weight = Buffer<T>(plan.gradient_size());
    std::fill_n(weight.data(), plan.gradient_size(), T(0));
  }
};

// The kernels of one instruction set. Forward and backward return whether what they computed stands: where floats are split
// (split.h) nothing does that comes from one that is not finite, and the caller turns to other kernels.
template <class T>
struct Kernels {
  Sizes sizes;
  bool (*forward)(const ForwardProblem<T>&, int64_t portion, int64_t portions);
  bool (*backward)(const BackwardProblem<T>&, int64_t slot, int64_t slots, SlotSums<T>& sums);
  bool (*spread)(const SpreadProblem<T>&, int64_t portion);  // whether all that was written is finite
  bool (*spreads)(const Geometry&, int64_t threads);  // where forward by spreading is faster than by columns
  // Of kernels that split floats, else null: splits a packed weight, panels of `depth` rows, and returns whether all of it is
  // finite; what they suit; and what computes the rest.
  bool (*split_weight)(int64_t depth, int64_t width, const T* packed, uint16_t* to) = nullptr;
  bool (*suits)(const Geometry&) = nullptr;
  const Kernels<T>* others = nullptr;
  // Backward from the output's side, if there is one, and where it is faster than `backward`.
  bool (*mirrored_backward)(const MirroredProblem<T>&, int64_t slot, int64_t slots, SlotSums<T>& sums) = nullptr;
  bool (*mirrors)(const Geometry&) = nullptr;
};

}  // namespace acu
