// The fused kernels, compiled apart from the column path: they take most of the compiler's time.
#include "fused_convolution.cuh"
#include "kernel_choice.cuh"

namespace acu::cuda {

namespace {

// Tensors without a device of their own (meta) are asked about before there is one.
bool has_tensor_cores(const Tensor& tensor) {
  if (!tensor.is_cuda()) return true;
  int major = 0;
  const cudaError_t error =
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, tensor.get_device_index());
  STD_TORCH_CHECK(error == cudaSuccess, "acu: the GPU does not say what it is: ", cudaGetErrorString(error));
  return major >= 8;
}

}  // namespace

bool fused_supports(const Tensor& input, const Tensor& weight, const Tensor& positions,
                    const std::vector<int64_t>& stride, const std::vector<int64_t>& padding, int64_t groups) {
  const Geometry geometry = checked_geometry(input, weight, positions, settings_of(stride, padding, groups));
  return fused_takes(geometry, input.scalar_type(), input.size(0), weight.size(0), tf32_allowed) &&
         has_tensor_cores(input);
}

Tensor fused_active_conv2d(Tensor input, Tensor weight, Tensor positions, std::optional<Tensor> bias,
                           std::vector<int64_t> stride, std::vector<int64_t> padding, int64_t groups,
                           bool channels_last) {
  return fused_forward(input, weight, positions, bias, settings_of(stride, padding, groups), channels_last);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> fused_active_conv2d_backward(Tensor grad_output, Tensor input, Tensor weight,
                                                                        Tensor positions, std::vector<int64_t> stride,
                                                                        std::vector<int64_t> padding, int64_t groups,
                                                                        bool channels_last, bool need_input,
                                                                        bool need_weight, bool need_positions,
                                                                        bool need_bias) {
  return fused_backward(grad_output, input, weight, positions, settings_of(stride, padding, groups), channels_last,
                        need_input, need_weight, need_positions, need_bias);
}

}  // namespace acu::cuda
