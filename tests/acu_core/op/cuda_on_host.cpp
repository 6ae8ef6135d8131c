// The CUDA operator compiled by a plain C++ compiler and registered for CPU tensors under another name, so that its
// index arithmetic, its slices, its matrix views and its sums are tested where there is no GPU. Built by
// test_cuda_index_arithmetic.py.
#include <torch/csrc/stable/library.h>

#include <cstdint>
#include <string>

// Small in tests, so that images are cut, several slices add up and stretches hold several pixels.
static int64_t walkers = int64_t{1} << 19;
#define ACU_WALKERS walkers
#include "traffic_ledger.h"

#include "active_conv2d.cuh"

static void configure(int64_t bytes, int64_t threads) {
  acu::cuda::scratch_bytes = bytes;
  walkers = threads;
}

static void count_traffic() { ledger.begin(); }

static std::string counted_traffic() { return ledger.end(); }

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
  // From the first on, launches and their traffic are counted; the second gives a line for each and ends it.
  m.def("count_traffic() -> ()");
  m.def("counted_traffic() -> str");
}

STABLE_TORCH_LIBRARY_IMPL(acu_cuda_on_host, CPU, m) {
  m.impl("active_conv2d", TORCH_BOX(&acu::cuda::active_conv2d));
  m.impl("active_conv2d_backward", TORCH_BOX(&acu::cuda::active_conv2d_backward));
}

STABLE_TORCH_LIBRARY_IMPL(acu_cuda_on_host, CompositeExplicitAutograd, m) {
  m.impl("configure", TORCH_BOX(&configure));
  m.impl("count_traffic", TORCH_BOX(&count_traffic));
  m.impl("counted_traffic", TORCH_BOX(&counted_traffic));
}
