// What the gradients of weights and positions are made of (fused_gradients.cuh): corners, their cells, and how a
// block's shared memory is divided.
#pragma once

#include "fused_forward.cuh"

namespace acu::cuda {

constexpr int kBlockOutputs = 64;
constexpr int kBlockChannels = kSide;
constexpr int kCells = 16;  // whose sums a block has at once
constexpr int kCorners = 4;
constexpr int kBlockElements = kBlockOutputs * kBlockChannels;
constexpr int kWindowFar = 1 << 26;  // pixels

// A synapse has four corners, and corners that stand on the same cell share it.
struct CornerTable {
  int row[kCorners * kMostSynapses], column[kCorners * kMostSynapses];
  bool wanted[kCorners * kMostSynapses], first[kCorners * kMostSynapses];
  int cell[kCorners * kMostSynapses];  // of a corner; -1 if it counts nothing
  int cell_row[kCorners * kMostSynapses], cell_column[kCorners * kMostSynapses];
  int cells;
  Displacement<float> displacements[kMostSynapses];
  // Of the cells at hand:
  int place[kCells];  // in a window that holds all of them
  bool fits;          // whether such a window does
  float moved[kWarps][kMostSynapses][2];  // what a warp has summed up for the positions so far
  // Of the tile at hand and the cells at hand:
  int offset[kCells];  // in the window; -1 if the cell lies outside the image
  int line[kTilePixels / 8];
  Window window;
  bool one_window;
};

// What a corner counts: in the value, in its derivative by y and in that by x.
struct CornerCoefficients {
  float value, by_y, by_x;
};

ACU_HOST_DEVICE CornerCoefficients corner_coefficients(const Displacement<float>& d, int corner) {
  const bool below = corner / 2 != 0, beside = corner % 2 != 0;
  const float along_y = below ? d.down : 1.0f - d.down, along_x = beside ? d.right : 1.0f - d.right;
  return {along_y * along_x, below ? along_x : -along_x, beside ? along_y : -along_y};
}

// In shared memory: the table; then grad_output [pixel][output] and the window [pixel][channel], whose place the sums
// take when they are complete.
template <typename T>
struct CornerMemory {
  static constexpr int kGradientLength = kBlockOutputs + kVector<T>;
  static constexpr int64_t kTable = (sizeof(CornerTable) + 127) / 128 * 128;
  static constexpr int64_t kGradients = int64_t{kTilePixels} * kGradientLength * sizeof(T);
  static constexpr int64_t kSums = int64_t{kCells} * kBlockElements * sizeof(float);
  static constexpr int64_t kArea = sizeof(T) == 2 ? kSums : kSums + (22 << 10);
  static constexpr int kCapacity = static_cast<int>((kArea - kGradients) / (kBlockChannels * int64_t{sizeof(T)}));
  static constexpr int64_t kBytes = kTable + kArea;
  static_assert(kCapacity >= kTilePixels && kArea >= kSums);
};

template <typename T>
struct CornerProblem {
  Geometry geometry;
  Sampling sampling;
  Tiling tiling;
  const T* image;        // channels_last
  const T* grad_output;  // channels_last
  const T* weight;       // (O, C/groups, K)
  const float* positions;
  float* weight_sums;    // (stretches, O, K, C/groups), or null
  float* position_sums;  // (blocks of outputs, stretches, blocks of channels, K, 2), or null
  float* bias_sums;      // (stretches, O), or null
  int out_channels;
  int stretches;
  int64_t stretch;  // tiles
  bool image_aligned, gradient_aligned;

  ACU_HOST_DEVICE int segment_outputs() const { return out_channels / geometry.segments; }
  ACU_HOST_DEVICE int segment_blocks() const { return (segment_outputs() + kBlockOutputs - 1) / kBlockOutputs; }
  ACU_HOST_DEVICE int output_blocks() const { return geometry.segments * segment_blocks(); }
  ACU_HOST_DEVICE int channel_blocks() const { return (geometry.group_channels + kBlockChannels - 1) / kBlockChannels; }
};

#ifdef ACU_HAS_TENSOR_CORES

// The first corner with this one's cell, or -1 if it counts nothing.
ACU_DEVICE int first_of(const CornerTable& table, int corner) {
  if (!table.wanted[corner]) return -1;
  for (int before = 0; before < corner; ++before) {
    if (table.wanted[before] && table.row[before] == table.row[corner] &&
        table.column[before] == table.column[corner]) {
      return before;
    }
  }
  return corner;
}

// The cells of all corners that count anything, each once, in the order of their first corners.
template <typename T>
ACU_DEVICE void list_cells(CornerTable& table, const CornerProblem<T>& problem, int segment) {
  const int corners = problem.geometry.synapses * kCorners;
  const int group = problem.geometry.position_group_of_segment(segment);
  for (int corner = threadIdx.x; corner < corners; corner += kThreads) {
    const int synapse = corner / kCorners;
    const auto d = displacement(problem.positions + 2 * (int64_t{group} * problem.geometry.synapses + synapse));
    if (corner % kCorners == 0) table.displacements[synapse] = d;
    const CornerCoefficients coefficients = corner_coefficients(d, corner % kCorners);
    table.row[corner] = d.row + corner % kCorners / 2;
    table.column[corner] = d.column + corner % 2;
    table.wanted[corner] =
        (problem.weight_sums != nullptr && coefficients.value != 0.0f) ||
        (problem.position_sums != nullptr && (coefficients.by_y != 0.0f || coefficients.by_x != 0.0f));
  }
  __syncthreads();
  for (int corner = threadIdx.x; corner < corners; corner += kThreads) {
    const int same = first_of(table, corner);
    table.first[corner] = same == corner;
    table.cell[corner] = same;
  }
  __syncthreads();
  for (int corner = threadIdx.x; corner < corners; corner += kThreads) {
    const int same = table.cell[corner];
    int cell = -1;
    if (same >= 0) {
      cell = 0;
      for (int before = 0; before < same; ++before) cell += table.first[before];
      if (same == corner) {
        table.cell_row[cell] = table.row[corner];
        table.cell_column[cell] = table.column[corner];
      }
    }
    table.cell[corner] = cell;
  }
  if (threadIdx.x == 0) {
    int cells = 0;
    for (int corner = 0; corner < corners; ++corner) cells += table.first[corner];
    table.cells = cells;
  }
  __syncthreads();
}

#endif

}  // namespace acu::cuda
