// Tensors as the matrices of the GEMMs, and the GEMM itself: torch's own batched product, so that tensor cores, TF32
// and determinism settings, and cuBLAS's workspace are torch's, not ours. The batch is over segments.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/shim_utils.h>

#include <array>

#include "tensors.cuh"

namespace acu::cuda {

// result = left @ right for every segment; result is written in place, whatever its strides.
inline void multiply(const Tensor& left, const Tensor& right, const Tensor& result) {
  ACU_ON_OPERATION("bmm", bytes_of(left) + bytes_of(right), bytes_of(result));
  std::array<StableIValue, 3> stack{stable::detail::from(left), stable::detail::from(right),
                                    stable::detail::from(result)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::bmm", "out", stack.data(), TORCH_ABI_VERSION));
  (void)stable::detail::to<Tensor>(stack[0]);  // takes back the reference that the dispatcher returned
}

// The same for sums that are added up further: of 16-bit matrices they are float32. A product whose result has 16 bits may
// also be added up in 16 bits, where cuBLAS splits it and torch allows that; with a float32 result it cannot.
inline void multiply_in_full(const Tensor& left, const Tensor& right, const Tensor& result) {
  if (left.scalar_type() == result.scalar_type()) return multiply(left, right, result);
  ACU_ON_OPERATION("bmm", bytes_of(left) + bytes_of(right), bytes_of(result));
  std::array<StableIValue, 4> stack{stable::detail::from(left), stable::detail::from(right),
                                    stable::detail::from(result.scalar_type()), stable::detail::from(result)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::bmm", "dtype_out", stack.data(), TORCH_ABI_VERSION));
  (void)stable::detail::to<Tensor>(stack[0]);
}

inline Tensor flipped(const Tensor& matrices) { return stable::transpose(matrices, 1, 2); }

// A channels_last (N, O, H, W) tensor as (N * H * W, segments, O / segments).
inline Tensor pixel_rows(const Tensor& tensor, int64_t segments) {
  const int64_t pixels = tensor.size(0) * tensor.size(2) * tensor.size(3);
  const Tensor last = stable::transpose(stable::transpose(tensor, 1, 2), 2, 3);  // (N, H, W, O): contiguous
  return stable::view(last, Shape{pixels, segments, tensor.size(1) / segments});
}

// Rows [first, first + count) of (pixels, segments, length) as one matrix a segment: (segments, count, length).
inline Tensor segment_matrices(const Tensor& rows, int64_t first, int64_t count) {
  Tensor all = rows;
  return stable::transpose(stable::narrow(all, 0, first, count), 0, 1);
}

// weight (O, C/groups, K) as (segments, O/segments, K * C/groups), in the columns' order: synapse, then channel.
inline Tensor weight_matrices(const Tensor& weight, int64_t segments) {
  const Tensor by_synapse = as_contiguous(stable::transpose(weight, 1, 2));
  return stable::view(by_synapse, Shape{segments, weight.size(0) / segments, weight.size(1) * weight.size(2)});
}

// The way back, in the weight's dtype.
inline Tensor weight_from_matrices(const Tensor& matrices, const Tensor& weight) {
  const Tensor by_synapse = stable::view(matrices, Shape{weight.size(0), weight.size(2), weight.size(1)});
  const Tensor result = empty_like_kind(weight, {weight.size(0), weight.size(1), weight.size(2)});
  copy(result, stable::transpose(by_synapse, 1, 2));
  return result;
}

}  // namespace acu::cuda
