// What was decided for calls of one kind, by whoever has run both kernels on its tensors. It lies here, below Python, so
// that it holds for every call: those of compiled graphs, of the thread that computes gradients, of captured steps.
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <map>
#include <mutex>
#include <shared_mutex>
#include <vector>

namespace acu::cuda {

using torch::stable::Tensor;

// Of the operator itself; its backward has a bit for every gradient that is asked for.
constexpr int64_t kForward = -1;

// Everything that tells calls apart which may need other kernels, in the order in which it is compared.
using Call = std::vector<int64_t>;

inline Call call_of(const Tensor& input, const Tensor& weight, const Tensor& positions,
                    const std::vector<int64_t>& stride, const std::vector<int64_t>& padding, int64_t groups,
                    bool channels_last, bool tf32, int64_t needs) {
  const bool rounded = tf32 && input.scalar_type() == torch::headeronly::ScalarType::Float;
  Call call{needs, static_cast<int64_t>(input.scalar_type()), rounded, channels_last, groups, positions.size(0)};
  for (const Tensor& tensor : {input, weight}) {
    // With its length, so that no two lists of numbers look alike.
    call.push_back(tensor.dim());
    for (int64_t axis = 0; axis < tensor.dim(); ++axis) call.push_back(tensor.size(axis));
  }
  for (const auto* numbers : {&stride, &padding}) {
    call.push_back(static_cast<int64_t>(numbers->size()));
    call.insert(call.end(), numbers->begin(), numbers->end());
  }
  return call;
}

// Read at every call, by any thread; written once for each kind of call.
class C10_HIDDEN CallChoices {
 public:
  // The kernels decided for a call, else `otherwise`.
  int64_t find(const Call& call, int64_t otherwise) const {
    const std::shared_lock guard(mutex_);
    const auto found = choices_.find(call);
    return found == choices_.end() ? otherwise : found->second;
  }

  void set(const Call& call, int64_t kernels) {
    const std::unique_lock guard(mutex_);
    choices_[call] = kernels;
  }

  void clear() {
    const std::unique_lock guard(mutex_);
    choices_.clear();
  }

 private:
  mutable std::shared_mutex mutex_;
  std::map<Call, int64_t> choices_;
};

C10_HIDDEN inline CallChoices call_choices;

// Of the calling thread's own calls, above all else; negative: none. For the two runs that are compared.
C10_HIDDEN inline thread_local int64_t forced_kernels = -1;

}  // namespace acu::cuda
