// Registers the CUDA kernels for the schema that ../schema.cpp declares; the library _C must be loaded first.
#include <torch/csrc/stable/library.h>

#include "active_conv2d.cuh"
#include "kernel_choice.cuh"

namespace acu::cuda {

namespace {

int64_t cuda_scratch_bytes(int64_t choice) {
  if (choice > 0) scratch_bytes = choice;
  return scratch_bytes;
}

void check_kernels(int64_t choice, Kernels last) {
  STD_TORCH_CHECK(choice >= 0 && choice <= static_cast<int64_t>(last),
                  "CUDA kernels: 0 stands for columns, 1 for the fused ones",
                  last == Kernels::kByCall ? " and 2 for what is decided by call" : "", ", not ", choice);
}

void set_cuda_kernels(int64_t choice) {
  check_kernels(choice, Kernels::kByCall);
  chosen_kernels = choice;
}

int64_t cuda_kernels() { return chosen_kernels; }

int64_t force_cuda_kernels(int64_t choice) {
  if (choice >= 0) check_kernels(choice, Kernels::kFused);
  const int64_t before = forced_kernels;
  forced_kernels = choice;
  return before;
}

void choose_cuda_kernels(Tensor input, Tensor weight, Tensor positions, std::vector<int64_t> stride,
                         std::vector<int64_t> padding, int64_t groups, bool channels_last, int64_t needs,
                         int64_t choice) {
  check_kernels(choice, Kernels::kFused);
  call_choices.set(call_of(input, weight, positions, stride, padding, groups, channels_last, tf32_allowed, needs),
                   choice);
}

void forget_cuda_kernels() { call_choices.clear(); }

void set_cuda_tf32(bool allowed) { tf32_allowed = allowed; }

bool cuda_tf32() { return tf32_allowed; }

bool cuda_fused_supports(Tensor input, Tensor weight, Tensor positions, std::vector<int64_t> stride,
                         std::vector<int64_t> padding, int64_t groups) {
  return fused_supports(input, weight, positions, stride, padding, groups);
}

Tensor forward(Tensor input, Tensor weight, Tensor positions, std::optional<Tensor> bias, std::vector<int64_t> stride,
               std::vector<int64_t> padding, int64_t groups, bool channels_last) {
  const bool fused = takes_fused(input, weight, positions, stride, padding, groups, channels_last, kForward);
  return (fused ? fused_active_conv2d : active_conv2d)(input, weight, positions, bias, stride, padding, groups,
                                                       channels_last);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> backward(Tensor grad_output, Tensor input, Tensor weight, Tensor positions,
                                                    std::vector<int64_t> stride, std::vector<int64_t> padding,
                                                    int64_t groups, bool channels_last, bool need_input,
                                                    bool need_weight, bool need_positions, bool need_bias) {
  const int64_t needs = need_input | need_weight << 1 | need_positions << 2 | need_bias << 3;
  if (!takes_fused(input, weight, positions, stride, padding, groups, channels_last, needs)) {
    return active_conv2d_backward(grad_output, input, weight, positions, stride, padding, groups, channels_last,
                                  need_input, need_weight, need_positions, need_bias);
  }
  const bool strided = stride[0] != 1 || stride[1] != 1;
  auto gradients = fused_active_conv2d_backward(grad_output, input, weight, positions, stride, padding, groups,
                                                channels_last, need_input && !strided, need_weight, need_positions,
                                                need_bias);
  if (need_input && strided) {
    std::get<0>(gradients) = std::get<0>(active_conv2d_backward(grad_output, input, weight, positions, stride, padding,
                                                                groups, channels_last, true, false, false, false));
  }
  return gradients;
}

}  // namespace

}  // namespace acu::cuda

STABLE_TORCH_LIBRARY_IMPL(acu, CUDA, m) {
  m.impl("active_conv2d", TORCH_BOX(&acu::cuda::forward));
  m.impl("active_conv2d_backward", TORCH_BOX(&acu::cuda::backward));
}

STABLE_TORCH_LIBRARY_IMPL(acu, CompositeExplicitAutograd, m) {
  m.impl("cuda_scratch_bytes", TORCH_BOX(&acu::cuda::cuda_scratch_bytes));
  m.impl("set_cuda_kernels", TORCH_BOX(&acu::cuda::set_cuda_kernels));
  m.impl("cuda_kernels", TORCH_BOX(&acu::cuda::cuda_kernels));
  m.impl("force_cuda_kernels", TORCH_BOX(&acu::cuda::force_cuda_kernels));
  m.impl("choose_cuda_kernels", TORCH_BOX(&acu::cuda::choose_cuda_kernels));
  m.impl("forget_cuda_kernels", TORCH_BOX(&acu::cuda::forget_cuda_kernels));
  m.impl("set_cuda_tf32", TORCH_BOX(&acu::cuda::set_cuda_tf32));
  m.impl("cuda_tf32", TORCH_BOX(&acu::cuda::cuda_tf32));
  m.impl("cuda_fused_supports", TORCH_BOX(&acu::cuda::cuda_fused_supports));
}
