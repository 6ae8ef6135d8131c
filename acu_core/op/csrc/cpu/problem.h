// The tensors of a call as plain pointers, and what a slot hands to the reduction. Shared by all instruction sets.

#pragma once

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
};

// The kernels of one instruction set.
template <class T>
struct Kernels {
  Sizes sizes;
  void (*forward)(const ForwardProblem<T>&, int64_t portion, int64_t portions);
  void (*backward)(const BackwardProblem<T>&, int64_t slot, int64_t slots, SlotSums<T>& sums);
  bool (*spread)(const SpreadProblem<T>&, int64_t portion);  // whether all that was written is finite
};

}  // namespace acu
