// Tensors of the kinds that the CUDA operator makes, and torch's own operations on them: each is a launch and memory
// moved, so they go through here, where a test counts them.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/MemoryFormat.h>
#include <torch/headeronly/core/ScalarType.h>

#include <vector>

// Where a test counts torch's operations; nothing anywhere else.
#ifndef ACU_ON_OPERATION
#define ACU_ON_OPERATION(name, bytes_read, bytes_written) static_cast<void>(0)
#endif

namespace acu::cuda {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;
namespace stable = torch::stable;

using Shape = std::vector<int64_t>;

template <typename Element>
Element* data(const Tensor& tensor) {
  return static_cast<Element*>(tensor.data_ptr());
}

// The memory that a tensor shows: what is expanded counts once.
inline int64_t bytes_of(const Tensor& tensor) {
  int64_t elements = 1;
  for (int64_t i = 0; i < tensor.dim(); ++i) {
    if (tensor.stride(i) != 0 || tensor.size(i) == 0) elements *= tensor.size(i);
  }
  return elements * static_cast<int64_t>(tensor.element_size());
}

inline Tensor empty_like_kind(const Tensor& kind, const Shape& shape, MemoryFormat format, ScalarType dtype) {
  return stable::empty(shape, dtype, std::nullopt, kind.device(), std::nullopt, format);
}

inline Tensor empty_like_kind(const Tensor& kind, const Shape& shape) {
  return empty_like_kind(kind, shape, MemoryFormat::Contiguous, kind.scalar_type());
}

inline Tensor no_gradient(const Tensor& kind) { return empty_like_kind(kind, {0}); }

inline void set_to_zero(Tensor tensor) {
  ACU_ON_OPERATION("zero", 0, bytes_of(tensor));
  stable::zero_(tensor);
}

inline Tensor zeros(const Tensor& kind, const Shape& shape, ScalarType dtype) {
  Tensor result = empty_like_kind(kind, shape, MemoryFormat::Contiguous, dtype);
  set_to_zero(result);
  return result;
}

inline void copy(Tensor result, const Tensor& source) {
  ACU_ON_OPERATION("copy", bytes_of(source), bytes_of(result));
  stable::copy_(result, source);
}

inline Tensor as_contiguous(const Tensor& tensor, MemoryFormat format = MemoryFormat::Contiguous) {
  Tensor result = stable::contiguous(tensor, format);
  if (result.data_ptr() != tensor.data_ptr()) ACU_ON_OPERATION("copy", bytes_of(tensor), bytes_of(result));
  return result;
}

// Exactly the strides that the fake kernel promises: `contiguous` might hand a tensor with one channel back as it is.
inline Tensor in_layout(const Tensor& tensor, bool channels_last, ScalarType dtype) {
  if (channels_last && tensor.scalar_type() == dtype) return tensor;
  const Tensor result = empty_like_kind(tensor, {tensor.size(0), tensor.size(1), tensor.size(2), tensor.size(3)},
                                        channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous, dtype);
  copy(result, tensor);
  return result;
}

inline Tensor channel_sums(const Tensor& tensor) {
  Tensor result = stable::sum(tensor, Shape{0, 2, 3});
  ACU_ON_OPERATION("sum", bytes_of(tensor), bytes_of(result));
  return result;
}

}  // namespace acu::cuda
