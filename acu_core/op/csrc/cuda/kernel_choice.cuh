// Which kernels a call takes: columns and cuBLAS, or the fused ones. Decided anew at every call, so that both can be run
// and compared on the same tensors. The fused kernels are compiled on their own (fused.cu); whoever calls
// them sees only what is declared here.
#pragma once

#include <atomic>
#include <optional>
#include <tuple>
#include <vector>

#include <torch/csrc/stable/tensor.h>

#include "call_choices.cuh"

namespace acu::cuda {

using torch::stable::Tensor;

// By call: those that were decided for a call of its kind, else columns.
enum class Kernels : int64_t { kColumns = 0, kFused = 1, kByCall = 2 };

// Columns until Python names others (library.py): by call, unless ACU_CUDA_KERNELS says otherwise.
C10_HIDDEN inline std::atomic<int64_t> chosen_kernels{static_cast<int64_t>(Kernels::kColumns)};

// Whether products of float32 may round what they multiply to TF32. The products of the column path ask torch, whose
// switch is not in the stable ABI; so whoever sets that one sets this one too.
C10_HIDDEN inline std::atomic<bool> tf32_allowed{false};

// Whether the fused kernels take such a call. They take any stride; where it is not 1, the input's gradient comes from the
// column path.
bool fused_supports(const Tensor& input, const Tensor& weight, const Tensor& positions,
                    const std::vector<int64_t>& stride, const std::vector<int64_t>& padding, int64_t groups);

Tensor fused_active_conv2d(Tensor input, Tensor weight, Tensor positions, std::optional<Tensor> bias,
                           std::vector<int64_t> stride, std::vector<int64_t> padding, int64_t groups,
                           bool channels_last);

std::tuple<Tensor, Tensor, Tensor, Tensor> fused_active_conv2d_backward(
    Tensor grad_output, Tensor input, Tensor weight, Tensor positions, std::vector<int64_t> stride,
    std::vector<int64_t> padding, int64_t groups, bool channels_last, bool need_input, bool need_weight,
    bool need_positions, bool need_bias);

// `needs` is kForward, or the gradients that backward is asked for.
inline bool takes_fused(const Tensor& input, const Tensor& weight, const Tensor& positions,
                        const std::vector<int64_t>& stride, const std::vector<int64_t>& padding, int64_t groups,
                        bool channels_last, int64_t needs) {
  int64_t kernels = forced_kernels >= 0 ? forced_kernels : chosen_kernels.load();
  if (kernels == static_cast<int64_t>(Kernels::kByCall)) {
    const Call call = call_of(input, weight, positions, stride, padding, groups, channels_last, tf32_allowed, needs);
    kernels = call_choices.find(call, static_cast<int64_t>(Kernels::kColumns));
  }
  return kernels == static_cast<int64_t>(Kernels::kFused) &&
         fused_supports(input, weight, positions, stride, padding, groups);
}

}  // namespace acu::cuda
