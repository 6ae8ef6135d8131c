// Running a kernel body (an object with operator()(int64_t index)) once for every index: on the device's current stream
// under nvcc, in a plain loop under a C++ compiler, so that tests run the whole operator on a machine without a GPU.
// Likewise a body of warps: part(output, lane) gives what each lane of an output's warp has, finish(output, sum) takes
// their sum.
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

constexpr int kLanes = 32;

#ifdef __CUDACC__

constexpr int kBlock = 256;
// At least this many blocks on one multiprocessor, so at most 80 registers a thread. Left to itself ptxas aims for more
// blocks and spills. A body that needs more registers says so by a kBlocksEach of its own.
template <typename Body>
constexpr int blocks_each() {
  if constexpr (requires { Body::kBlocksEach; }) {
    return Body::kBlocksEach;
  } else {
    return 3;
  }
}

// No shared memory and no barriers: the bodies need none, and every sum has one owner.
template <typename Body>
__global__ void __launch_bounds__(kBlock, blocks_each<Body>()) run_body(const Body body, const int64_t count) {
  const int64_t index = int64_t{blockIdx.x} * kBlock + threadIdx.x;
  if (index < count) body(index);
}

// The sum over the lanes is a tree: lane 0 adds lane 16, which has added nothing yet, then lane 8, which has added lane 24.
template <typename Body>
__global__ void __launch_bounds__(kBlock, blocks_each<Body>()) run_warps(const Body body, const int64_t outputs) {
  static_assert(kBlock % kLanes == 0);
  const int64_t output = (int64_t{blockIdx.x} * kBlock + threadIdx.x) / kLanes;
  const int lane = threadIdx.x % kLanes;
  if (output >= outputs) return;  // the whole warp
  auto sum = body.part(output, lane);
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
    sum += __shfl_down_sync(0xffffffffu, sum, distance);
  }
  if (lane == 0) body.finish(output, sum);
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
    run_body<<<blocks_for(count), kBlock, 0, stream_>>>(body, count);
    check_launch();
  }

  template <typename Body>
  void in_warps(const Body& body, int64_t outputs) const {
    if (outputs <= 0) return;
    run_warps<<<blocks_for(outputs * kLanes), kBlock, 0, stream_>>>(body, outputs);
    check_launch();
  }

 private:
  static unsigned blocks_for(int64_t threads) {
    const int64_t blocks = (threads + kBlock - 1) / kBlock;
    STD_TORCH_CHECK(blocks < (int64_t{1} << 31), "acu: the tensor is too large for one launch");
    return static_cast<unsigned>(blocks);
  }

  static void check_launch() {
    const cudaError_t error = cudaGetLastError();
    STD_TORCH_CHECK(error == cudaSuccess, "acu: a CUDA kernel could not be launched: ", cudaGetErrorString(error));
  }

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

  template <typename Body>
  void in_warps(const Body& body, int64_t outputs) const {
    if (outputs <= 0) return;
    ACU_ON_LAUNCH(body);
    for (int64_t output = 0; output < outputs; ++output) {
      decltype(body.part(output, 0)) sums[kLanes];
      for (int lane = 0; lane < kLanes; ++lane) sums[lane] = body.part(output, lane);
      for (int distance = kLanes / 2; distance > 0; distance /= 2) {
        for (int lane = 0; lane < distance; ++lane) sums[lane] += sums[lane + distance];
      }
      body.finish(output, sums[0]);
    }
  }
};

#endif

}  // namespace acu::cuda
