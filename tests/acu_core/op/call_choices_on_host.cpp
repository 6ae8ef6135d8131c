// What was decided for calls, compiled by a plain C++ compiler for tensors of any device. Built by test_call_choices.py.
#include <torch/csrc/stable/library.h>

#include "call_choices.cuh"

namespace {

using acu::cuda::Tensor;
using Numbers = std::vector<int64_t>;

void choose(Tensor input, Tensor weight, Tensor positions, Numbers stride, Numbers padding, int64_t groups,
            bool channels_last, bool tf32, int64_t needs, int64_t kernels) {
  acu::cuda::call_choices.set(
      acu::cuda::call_of(input, weight, positions, stride, padding, groups, channels_last, tf32, needs), kernels);
}

int64_t find(Tensor input, Tensor weight, Tensor positions, Numbers stride, Numbers padding, int64_t groups,
             bool channels_last, bool tf32, int64_t needs) {
  return acu::cuda::call_choices.find(
      acu::cuda::call_of(input, weight, positions, stride, padding, groups, channels_last, tf32, needs), 0);
}

void forget() { acu::cuda::call_choices.clear(); }

int64_t force(int64_t kernels) {
  const int64_t before = acu::cuda::forced_kernels;
  acu::cuda::forced_kernels = kernels;
  return before;
}

}  // namespace

STABLE_TORCH_LIBRARY(acu_choices_on_host, m) {
  m.def(
      "choose(Tensor input, Tensor weight, Tensor positions, int[] stride, int[] padding, int groups, "
      "bool channels_last, bool tf32, int needs, int kernels) -> ()");
  m.def(
      "find(Tensor input, Tensor weight, Tensor positions, int[] stride, int[] padding, int groups, "
      "bool channels_last, bool tf32, int needs) -> int");
  m.def("forget() -> ()");
  m.def("force(int kernels) -> int");
}

STABLE_TORCH_LIBRARY_IMPL(acu_choices_on_host, CompositeExplicitAutograd, m) {
  m.impl("choose", TORCH_BOX(&choose));
  m.impl("find", TORCH_BOX(&find));
  m.impl("forget", TORCH_BOX(&forget));
  m.impl("force", TORCH_BOX(&force));
}
