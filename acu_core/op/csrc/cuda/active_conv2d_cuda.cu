// Registers the CUDA kernels for the schema that ../schema.cpp declares; the library _C must be loaded first.
#include <torch/csrc/stable/library.h>

#include "active_conv2d.cuh"

STABLE_TORCH_LIBRARY_IMPL(acu, CUDA, m) {
  m.impl("active_conv2d", TORCH_BOX(&acu::cuda::active_conv2d));
  m.impl("active_conv2d_backward", TORCH_BOX(&acu::cuda::active_conv2d_backward));
}
