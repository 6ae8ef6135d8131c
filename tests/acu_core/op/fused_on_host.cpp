// The fused CUDA kernels compiled by a plain C++ compiler and registered for CPU tensors under another name. Built by
// test_fused_kernels.py.
#include "device_on_host.h"
//
#include <utility>

#include <torch/csrc/stable/library.h>

#include "fused_convolution.cuh"

namespace {

using acu::cuda::Tensor;

Tensor active_conv2d(Tensor input, Tensor weight, Tensor positions, std::optional<Tensor> bias,
                     std::vector<int64_t> stride, std::vector<int64_t> padding, int64_t groups, bool channels_last) {
  return acu::cuda::fused_forward(input, weight, positions, bias, acu::settings_of(stride, padding, groups),
                                  channels_last);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> active_conv2d_backward(Tensor grad_output, Tensor input, Tensor weight,
                                                                  Tensor positions, std::vector<int64_t> stride,
                                                                  std::vector<int64_t> padding, int64_t groups,
                                                                  bool channels_last, bool need_input, bool need_weight,
                                                                  bool need_positions, bool need_bias) {
  return acu::cuda::fused_backward(grad_output, input, weight, positions, acu::settings_of(stride, padding, groups),
                                   channels_last, need_input, need_weight, need_positions, need_bias);
}

bool supports(Tensor input, Tensor weight, Tensor positions, std::vector<int64_t> stride, std::vector<int64_t> padding,
              int64_t groups) {
  const auto geometry =
      acu::cuda::checked_geometry(input, weight, positions, acu::settings_of(stride, padding, groups));
  return acu::cuda::fused_takes(geometry, input.scalar_type(), input.size(0), weight.size(0), true);
}

// The bytes of shared memory that a call's kernels ask for: forward, input's gradient (0 with a stride), corners,
// addition; and the fragments of outputs and the cells at once of the first two.
std::vector<int64_t> plan(Tensor input, Tensor weight, Tensor positions, std::vector<int64_t> stride,
                          std::vector<int64_t> padding, int64_t groups) {
  using namespace acu::cuda;
  const Geometry geometry = checked_geometry(input, weight, positions, acu::settings_of(stride, padding, groups));
  std::vector<int64_t> result;
  with_fused_type(input.scalar_type(), [&](auto element) {
    using T = decltype(element);
    const auto planned = [&](bool mirrored) {
      return product_plan(product_problem<T>(geometry, input.size(0), static_cast<int>(weight.size(0)), mirrored));
    };
    const auto forward = planned(false);
    const auto mirrored = has_stride(geometry) ? std::nullopt : planned(true);
    CornerProblem<T> corners{};
    corners.geometry = geometry;
    const ProductPlan none{};
    const ProductPlan first = forward.value_or(none), second = mirrored.value_or(none);
    result = {first.bytes,     second.bytes,  CornerMemory<T>::kBytes, SumOfCells<T>::bytes(corners),
              first.fragments, first.at_once, second.fragments,        second.at_once};
  });
  return result;
}

// The threads of a block upwards or downwards.
void run_in_order(int64_t order) { device_on_host::order = static_cast<int>(order); }

// How many kernels were launched since the last call.
int64_t launches() { return std::exchange(device_on_host::launches, 0); }

}  // namespace

STABLE_TORCH_LIBRARY(acu_fused_on_host, m) {
  m.def(
      "active_conv2d(Tensor input, Tensor weight, Tensor positions, Tensor? bias, "
      "int[] stride, int[] padding, int groups, bool channels_last) -> Tensor");
  m.def(
      "active_conv2d_backward(Tensor grad_output, Tensor input, Tensor weight, Tensor positions, "
      "int[] stride, int[] padding, int groups, bool channels_last, "
      "bool need_input, bool need_weight, bool need_positions, bool need_bias) "
      "-> (Tensor, Tensor, Tensor, Tensor)");
  m.def("supports(Tensor input, Tensor weight, Tensor positions, int[] stride, int[] padding, int groups) -> bool");
  m.def("plan(Tensor input, Tensor weight, Tensor positions, int[] stride, int[] padding, int groups) -> int[]");
  m.def("run_in_order(int order) -> ()");
  m.def("launches() -> int");
}

STABLE_TORCH_LIBRARY_IMPL(acu_fused_on_host, CPU, m) {
  m.impl("active_conv2d", TORCH_BOX(&active_conv2d));
  m.impl("active_conv2d_backward", TORCH_BOX(&active_conv2d_backward));
  m.impl("supports", TORCH_BOX(&supports));
  m.impl("plan", TORCH_BOX(&plan));
}

STABLE_TORCH_LIBRARY_IMPL(acu_fused_on_host, CompositeExplicitAutograd, m) {
  m.impl("run_in_order", TORCH_BOX(&run_in_order));
  m.impl("launches", TORCH_BOX(&launches));
}
