// The fused CUDA kernels compiled by a plain C++ compiler and registered for CPU tensors under another name. Built by
// test_fused_kernels.py.
#include "device_on_host.h"
//
#include <torch/csrc/stable/library.h>

#include "fused_convolution.cuh"

namespace {

using acu::cuda::Tensor;

Tensor active_conv2d(Tensor input, Tensor weight, Tensor positions, std::optional<Tensor> bias,
                     std::vector<int64_t> stride, std::vector<int64_t> padding, int64_t groups, bool channels_last) {
  return acu::cuda::fused_forward(input, weight, positions, bias, acu::settings_of(stride, padding, groups),
                                  channels_last);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> active_conv2d_backward(
    Tensor grad_output, Tensor input, Tensor weight, Tensor positions, std::vector<int64_t> stride,
    std::vector<int64_t> padding, int64_t groups, bool channels_last, bool need_input, bool need_weight,
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

// The threads of a block upwards or downwards.
void run_in_order(int64_t order) { device_on_host::order = static_cast<int>(order); }

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
  m.def(
      "supports(Tensor input, Tensor weight, Tensor positions, int[] stride, int[] padding, int groups) -> bool");
  m.def("run_in_order(int order) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(acu_fused_on_host, CPU, m) {
  m.impl("active_conv2d", TORCH_BOX(&active_conv2d));
  m.impl("active_conv2d_backward", TORCH_BOX(&active_conv2d_backward));
  m.impl("supports", TORCH_BOX(&supports));
}

STABLE_TORCH_LIBRARY_IMPL(acu_fused_on_host, CompositeExplicitAutograd, m) {
  m.impl("run_in_order", TORCH_BOX(&run_in_order));
}
