// The CUDA operator compiled by a plain C++ compiler and registered for CPU tensors under another name, so that its
// index arithmetic, its slices, its matrix views and its sums are tested where there is no GPU. Built by
// test_cuda_index_arithmetic.py.
#include <torch/csrc/stable/library.h>

#include <cstdint>

// Small in tests, so that images are cut, several slices add up and stretches hold several pixels.
static int64_t walkers = int64_t{1} << 19;
#define ACU_WALKERS walkers
#include "active_conv2d.cuh"

static void configure(int64_t bytes, int64_t threads) {
  acu::cuda::scratch_bytes = bytes;
  walkers = threads;
}

STABLE_TORCH_LIBRARY(acu_cuda_on_host, m) {
  m.def(
      "active_conv2d(Tensor input, Tensor weight, Tensor positions, Tensor? bias, "
      "int[] stride, int[] padding, int groups, bool channels_last) -> Tensor");
  m.def(
      "active_conv2d_backward(Tensor grad_output, Tensor input, Tensor weight, Tensor positions, "
      "int[] stride, int[] padding, int groups, bool channels_last, "
      "bool need_input, bool need_weight, bool need_positions, bool need_bias) "
      "-> (Tensor, Tensor, Tensor, Tensor)");
  m.def("configure(int scratch_bytes, int walkers) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(acu_cuda_on_host, CPU, m) {
  m.impl("active_conv2d", TORCH_BOX(&acu::cuda::active_conv2d));
  m.impl("active_conv2d_backward", TORCH_BOX(&acu::cuda::active_conv2d_backward));
}

STABLE_TORCH_LIBRARY_IMPL(acu_cuda_on_host, CompositeExplicitAutograd, m) {
  m.impl("configure", TORCH_BOX(&configure));
}
