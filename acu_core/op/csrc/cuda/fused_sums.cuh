// What the blocks of CornerProducts left, added up, a stretch of tiles after the other, whichever was done first, and
// blended: the gradients of weights, positions and bias.
#pragma once

#include "fused_gradients.cuh"

namespace acu::cuda {

template <typename T>
struct SumProblem {
  CornerProblem<T> corners;
  const T* weight;        // (O, C/groups, K)
  T* grad_weight;         // (O, C/groups, K), or null
  float* position_sums;   // (O, blocks of channels, K, 2), or null
  float* grad_positions;  // (G, K, 2), or null
  T* grad_bias;           // (O,), or null

  // Of SumOfRest, in this order: for the bias, and one for each number of the positions.
  ACU_HOST_DEVICE int64_t bias_blocks() const {
    return grad_bias == nullptr ? 0 : (corners.out_channels + kThreads - 1) / kThreads;
  }
  ACU_HOST_DEVICE int64_t position_blocks() const {
    return grad_positions == nullptr ? 0 : int64_t{2} * corners.geometry.position_groups * corners.geometry.synapses;
  }
};

template <typename T>
struct SumOfCells;
template <typename T>
struct SumOfRest;

#ifdef ACU_HAS_TENSOR_CORES

// A block has one output and a block's channels, in which D of all cells meets. grid: (outputs of a block, blocks of
// outputs, blocks of channels).
template <typename T>
struct SumOfCells {
  static constexpr int kCellsAtOnce = kThreads / kBlockChannels;

  const SumProblem<T>& problem;
  float *sums, *moved;  // [cell][channel], [synapse][channel][y, x]

  static ACU_HOST_DEVICE int64_t bytes(const CornerProblem<T>& corners) {
    return (corners.most_cells() + 2 * corners.geometry.synapses) * kBlockChannels * int64_t{sizeof(float)};
  }

  ACU_DEVICE SumOfCells(const SumProblem<T>& problem, unsigned char* shared)
      : problem(problem),
        sums(reinterpret_cast<float*>(shared)),
        moved(sums + problem.corners.most_cells() * kBlockChannels) {}

  ACU_DEVICE void run() {
    const CornerProblem<T>& corners = problem.corners;
    const int segment = blockIdx.y / corners.segment_blocks();
    const int inside = (blockIdx.y - segment * corners.segment_blocks()) * kBlockOutputs + blockIdx.x;
    if (inside >= corners.segment_outputs()) return;
    const CornerCells& cells = corners.cells[blockIdx.y];
    add_stretches(cells);
    __syncthreads();
    blend(cells, int64_t{segment} * corners.segment_outputs() + inside);
  }

 private:
  ACU_DEVICE void add_stretches(const CornerCells& cells) const {
    const CornerProblem<T>& corners = problem.corners;
    const int64_t apart = corners.stretch_sums();
    for (int cell = threadIdx.x / kBlockChannels; cell < cells.count; cell += kCellsAtOnce) {
      const int channel = threadIdx.x % kBlockChannels;
      const float* from = corners.cell_sums + corners.first_sum(blockIdx.y, blockIdx.z, cell) +
                          blockIdx.x * kBlockChannels + channel;
      float total = 0.0f;
      for (int stretch = 0; stretch < corners.stretches; ++stretch) total += from[stretch * apart];
      sums[cell * kBlockChannels + channel] = total;
    }
  }

  ACU_DEVICE void blend(const CornerCells& cells, int64_t output) const {
    const Geometry& geometry = problem.corners.geometry;
    const int first_channel = blockIdx.z * kBlockChannels;
    for (int item = threadIdx.x; item < geometry.synapses * kBlockChannels; item += kThreads) {
      const int synapse = item / kBlockChannels, channel = item % kBlockChannels;
      CornerCoefficients blended{0.0f, 0.0f, 0.0f};
      if (first_channel + channel < geometry.group_channels) {
        const Displacement<float> d = cells.displacements[synapse];
        ACU_UNROLL
        for (int corner = 0; corner < kCorners; ++corner) {
          const int cell = cells.cell[synapse * kCorners + corner];
          if (cell < 0) continue;
          const CornerCoefficients coefficients = corner_coefficients(d, corner);
          const float sum = sums[cell * kBlockChannels + channel];
          blended.value += weighted(coefficients.value, sum);
          blended.by_y += weighted(coefficients.by_y, sum);
          blended.by_x += weighted(coefficients.by_x, sum);
        }
        const int64_t element = (output * geometry.group_channels + first_channel + channel) * geometry.synapses + synapse;
        if (problem.grad_weight != nullptr) problem.grad_weight[element] = static_cast<T>(blended.value);
        const float weight = static_cast<float>(problem.weight[element]);
        blended.by_y *= weight;
        blended.by_x *= weight;
      }
      moved[2 * item] = blended.by_y;
      moved[2 * item + 1] = blended.by_x;
    }
    if (problem.position_sums == nullptr) return;
    __syncthreads();
    const int numbers = 2 * geometry.synapses;
    float* to = problem.position_sums + (output * problem.corners.channel_blocks() + blockIdx.z) * numbers;
    for (int number = threadIdx.x; number < numbers; number += kThreads) {
      float total = 0.0f;
      for (int channel = 0; channel < kBlockChannels; ++channel) {
        total += moved[(number / 2 * kBlockChannels + channel) * 2 + number % 2];
      }
      to[number] = total;
    }
  }
};

template <typename T>
struct SumOfRest {
  static constexpr int64_t kBytes = kThreads * sizeof(float);

  const SumProblem<T>& problem;
  float* parted;

  ACU_DEVICE SumOfRest(const SumProblem<T>& problem, unsigned char* shared)
      : problem(problem), parted(reinterpret_cast<float*>(shared)) {}

  ACU_DEVICE void run() {
    const int64_t block = blockIdx.x;
    if (block < problem.bias_blocks()) {
      add_bias(block * kThreads + threadIdx.x);
    } else {
      add_position(block - problem.bias_blocks());
    }
  }

 private:
  ACU_DEVICE void add_bias(int64_t output) const {
    const CornerProblem<T>& corners = problem.corners;
    if (output >= corners.out_channels) return;
    float total = 0.0f;
    for (int stretch = 0; stretch < corners.stretches; ++stretch) {
      total += corners.bias_sums[stretch * int64_t{corners.out_channels} + output];
    }
    problem.grad_bias[output] = static_cast<T>(total);
  }

  // index: (G, K, 2). The outputs that share a position group stand together.
  ACU_DEVICE void add_position(int64_t index) {
    const CornerProblem<T>& corners = problem.corners;
    const int64_t numbers = 2 * corners.geometry.synapses;
    const int64_t group = index / numbers;
    const int64_t parts = int64_t{corners.out_channels / corners.geometry.position_groups} * corners.channel_blocks();
    const float* first = problem.position_sums + group * parts * numbers + index % numbers;
    float total = 0.0f;
    for (int64_t part = threadIdx.x; part < parts; part += kThreads) total += first[part * numbers];
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
