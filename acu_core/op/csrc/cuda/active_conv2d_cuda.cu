// Registers the CUDA kernels for the schema that ../schema.cpp declares; the library _C must be loaded first.
#include <torch/csrc/stable/library.h>

#include "active_conv2d.cuh"

namespace acu::cuda {

namespace {

int64_t cuda_scratch_bytes(int64_t choice) {
  if (choice > 0) scratch_bytes = choice;
  return scratch_bytes;
}

}  // namespace

}  // namespace acu::cuda

STABLE_TORCH_LIBRARY_IMPL(acu, CUDA, m) {
  m.impl("active_conv2d", TORCH_BOX(&acu::cuda::active_conv2d));
  m.impl("active_conv2d_backward", TORCH_BOX(&acu::cuda::active_conv2d_backward));
}

STABLE_TORCH_LIBRARY_IMPL(acu, CompositeExplicitAutograd, m) {
  m.impl("cuda_scratch_bytes", TORCH_BOX(&acu::cuda::cuda_scratch_bytes));
}
