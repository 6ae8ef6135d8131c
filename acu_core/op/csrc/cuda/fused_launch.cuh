// Running a fused kernel, a struct that is made from its problem and its block's shared memory and then run by every
// thread: under nvcc on the device's current stream. Under a plain C++ compiler the tests' stand-in runs the blocks.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>
#include <torch/headeronly/util/shim_utils.h>

#include "tensor_cores.cuh"

#ifdef __CUDACC__
#include <cuda_runtime.h>
#endif

namespace acu::cuda {

struct Grid {
  int64_t x, y, z;
};

#ifdef __CUDACC__

// BlocksEach: on one multiprocessor at least; the compiler may use as many registers as that leaves.
template <typename Kernel, int BlocksEach, typename Problem>
__global__ void __launch_bounds__(kThreads, BlocksEach) run_blocks(const __grid_constant__ Problem problem) {
#ifdef ACU_HAS_TENSOR_CORES
  extern __shared__ __align__(128) unsigned char shared_memory[];
  Kernel(problem, shared_memory).run();
#endif
}

class BlockLauncher {
 public:
  explicit BlockLauncher(const torch::stable::Tensor& tensor) : guard_(tensor.get_device_index()) {
    void* stream = nullptr;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &stream));
    stream_ = static_cast<cudaStream_t>(stream);
  }

  template <typename Kernel, int BlocksEach, typename Problem>
  void run(const Problem& problem, const Grid& grid, int64_t shared_bytes) const {
    const auto kernel = run_blocks<Kernel, BlocksEach, Problem>;
    const int bytes = static_cast<int>(shared_bytes);
    // What goes beyond 48 KB must be asked for.
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
    const dim3 blocks(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y), static_cast<unsigned>(grid.z));
    kernel<<<blocks, kThreads, bytes, stream_>>>(problem);
    check(cudaGetLastError());
  }

 private:
  static void check(cudaError_t error) {
    STD_TORCH_CHECK(error == cudaSuccess,
                    "acu: a fused CUDA kernel could not be launched: ", cudaGetErrorString(error));
  }

  torch::stable::accelerator::DeviceGuard guard_;
  cudaStream_t stream_ = nullptr;
};

#else

class BlockLauncher {
 public:
  explicit BlockLauncher(const torch::stable::Tensor&) {}

  template <typename Kernel, int BlocksEach, typename Problem>
  void run(const Problem& problem, const Grid& grid, int64_t shared_bytes) const {
    device_on_host::run_blocks<Kernel>(problem, grid.x, grid.y, grid.z, kThreads, shared_bytes);
  }
};

#endif

}  // namespace acu::cuda
