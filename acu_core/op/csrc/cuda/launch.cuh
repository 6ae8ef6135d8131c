// Running a kernel body (an object with operator()(int64_t index)) once for every index: on the device's current stream
// under nvcc, in a plain loop under a C++ compiler, so that tests run the whole operator on a machine without a GPU.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>
#include <torch/headeronly/util/shim_utils.h>

#include "geometry.cuh"

#ifdef __CUDACC__
#include <cuda_runtime.h>
#endif

// Where a test counts launches; nothing anywhere else.
#ifndef ACU_ON_LAUNCH
#define ACU_ON_LAUNCH(body) static_cast<void>(0)
#endif

namespace acu::cuda {

#ifdef __CUDACC__

constexpr int kBlock = 256;
// At least this many blocks on one multiprocessor, so at most 80 registers a thread. Left to itself ptxas aims for more
// blocks and spills.
constexpr int kBlocksEach = 3;

// No shared memory and no barriers: the bodies need none, and every sum keeps one owner.
template <typename Body>
__global__ void __launch_bounds__(kBlock, kBlocksEach) run_body(const Body body, const int64_t count) {
  const int64_t index = int64_t{blockIdx.x} * kBlock + threadIdx.x;
  if (index < count) body(index);
}

// Makes the tensor's device current for as long as it lives and launches on that device's current stream.
class Launcher {
 public:
  explicit Launcher(const torch::stable::Tensor& tensor) : guard_(tensor.get_device_index()) {
    void* stream = nullptr;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &stream));
    stream_ = static_cast<cudaStream_t>(stream);
  }

  template <typename Body>
  void operator()(const Body& body, int64_t count) const {
    if (count <= 0) return;
    const int64_t blocks = (count + kBlock - 1) / kBlock;
    STD_TORCH_CHECK(blocks < (int64_t{1} << 31), "acu: the tensor is too large for one launch");
    run_body<<<static_cast<unsigned>(blocks), kBlock, 0, stream_>>>(body, count);
    const cudaError_t error = cudaGetLastError();
    STD_TORCH_CHECK(error == cudaSuccess, "acu: a CUDA kernel could not be launched: ", cudaGetErrorString(error));
  }

 private:
  torch::stable::accelerator::DeviceGuard guard_;
  cudaStream_t stream_ = nullptr;
};

#else

class Launcher {
 public:
  explicit Launcher(const torch::stable::Tensor&) {}

  template <typename Body>
  void operator()(const Body& body, int64_t count) const {
    if (count <= 0) return;
    ACU_ON_LAUNCH(body);
    for (int64_t index = 0; index < count; ++index) body(index);
  }
};

#endif

}  // namespace acu::cuda
