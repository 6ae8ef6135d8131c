// What the blocks of CornerProducts left, added up: a stretch of tiles after the other, whichever was done first.
#pragma once

#include "fused_gradients.cuh"

namespace acu::cuda {

template <typename T>
struct SumProblem {
  CornerProblem<T> corners;
  T* grad_weight;         // (O, C/groups, K), or null
  float* grad_positions;  // (G, K, 2), or null
  T* grad_bias;           // (O,), or null

  ACU_HOST_DEVICE int64_t weights() const {
    return int64_t{corners.out_channels} * corners.geometry.group_channels * corners.geometry.synapses;
  }
  // Blocks of threads, in this order: for the weights, for the bias, and one for each number of the positions.
  ACU_HOST_DEVICE int64_t weight_blocks() const {
    return grad_weight == nullptr ? 0 : (weights() + kThreads - 1) / kThreads;
  }
  ACU_HOST_DEVICE int64_t bias_blocks() const {
    return grad_bias == nullptr ? 0 : (corners.out_channels + kThreads - 1) / kThreads;
  }
  ACU_HOST_DEVICE int64_t position_blocks() const {
    return grad_positions == nullptr ? 0 : int64_t{2} * corners.geometry.position_groups * corners.geometry.synapses;
  }
  static constexpr int64_t kBytes = kThreads * sizeof(float);
};

template <typename T>
struct SumOfStretches;

#ifdef ACU_HAS_TENSOR_CORES

template <typename T>
struct SumOfStretches {
  const SumProblem<T>& problem;
  float* parted;

  ACU_DEVICE SumOfStretches(const SumProblem<T>& problem, unsigned char* shared)
      : problem(problem), parted(reinterpret_cast<float*>(shared)) {}

  ACU_DEVICE void run() {
    int64_t block = blockIdx.x;
    if (block < problem.weight_blocks()) {
      add_weight(block * kThreads + threadIdx.x);
      return;
    }
    block -= problem.weight_blocks();
    if (block < problem.bias_blocks()) {
      add_bias(block * kThreads + threadIdx.x);
      return;
    }
    add_position(block - problem.bias_blocks());
  }

 private:
  ACU_DEVICE float sum(const float* first, int64_t apart) const {
    float total = 0.0f;
    for (int stretch = 0; stretch < problem.corners.stretches; ++stretch) total += first[stretch * apart];
    return total;
  }

  // index: (O, K, C/groups).
  ACU_DEVICE void add_weight(int64_t index) const {
    if (index >= problem.weights()) return;
    const Geometry& geometry = problem.corners.geometry;
    const int64_t row = index / geometry.group_channels, channel = index - row * geometry.group_channels;
    const int64_t output = row / geometry.synapses, synapse = row - output * geometry.synapses;
    problem.grad_weight[(output * geometry.group_channels + channel) * geometry.synapses + synapse] =
        static_cast<T>(sum(problem.corners.weight_sums + index, problem.weights()));
  }

  ACU_DEVICE void add_bias(int64_t output) const {
    if (output >= problem.corners.out_channels) return;
    problem.grad_bias[output] = static_cast<T>(sum(problem.corners.bias_sums + output, problem.corners.out_channels));
  }

  // index: (G, K, 2). The blocks that share a position group stand together.
  ACU_DEVICE void add_position(int64_t index) {
    const CornerProblem<T>& corners = problem.corners;
    const int64_t numbers = 2 * corners.geometry.synapses;
    const int64_t group = index / numbers;
    const int64_t blocks = int64_t{corners.output_blocks() / corners.geometry.position_groups} * corners.stretches *
                           corners.channel_blocks();
    const float* first = corners.position_sums + group * blocks * numbers + index % numbers;
    float total = 0.0f;
    for (int64_t block = threadIdx.x; block < blocks; block += kThreads) total += first[block * numbers];
    parted[threadIdx.x] = total;
    for (int half = kThreads / 2; half > 0; half /= 2) {
      __syncthreads();
      if (static_cast<int>(threadIdx.x) < half) parted[threadIdx.x] += parted[threadIdx.x + half];
    }
    if (threadIdx.x == 0) problem.grad_positions[index] = parted[0];
  }
};

#endif

}  // namespace acu::cuda
