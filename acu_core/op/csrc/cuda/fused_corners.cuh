// What the gradients of weights and positions are made of (fused_gradients.cuh), and how a block's shared memory is
// divided.
#pragma once

#include "fused_cells.cuh"

namespace acu::cuda {

// Output pixels of a tile: what a block works on at once.
constexpr int kTilePixels = 128;
constexpr int kBlockOutputs = 64;
constexpr int kBlockChannels = kSide;
constexpr int kCells = 16;  // whose sums a block has at once
constexpr int kBlockElements = kBlockOutputs * kBlockChannels;
constexpr int kWindowFar = 1 << 26;  // pixels

struct CornerTable {
  CellTable list;
  // Of the cells at hand:
  int place[kCells];  // in a window that holds all of them
  bool fits;          // whether such a window does
  // Of the tile at hand and the cells at hand:
  int offset[kCells];  // in the window; -1 if the cell lies outside the image
  int line[kTilePixels / 8];
  Window window;
  bool one_window;
};

// In shared memory: the table; grad_output [pixel][output]; the window [pixel][channel].
template <typename T>
struct CornerMemory {
  static constexpr int kGradientLength = kBlockOutputs + kVector<T>;
  static constexpr int kCapacity = sizeof(T) == 2 ? 1472 : 832;  // pixels
  static constexpr int64_t kTable = (sizeof(CornerTable) + 127) / 128 * 128;
  static constexpr int64_t kGradients = int64_t{kTilePixels} * kGradientLength * sizeof(T);
  static constexpr int64_t kBytes = kTable + kGradients + int64_t{kCapacity} * kBlockChannels * sizeof(T);
  static_assert(kCapacity >= kTilePixels && kGradients >= int64_t{kThreads} * sizeof(float));
};

// What of a block's cells the sums of stretches need.
struct CornerCells {
  int count;
  int cell[kMostCells];  // of a corner; -1 if it counts nothing
  Displacement<float> displacements[kMostSynapses];
};

template <typename T>
struct CornerProblem {
  Geometry geometry;
  Sampling sampling;
  Tiling tiling;
  const T* image;        // channels_last
  const T* grad_output;  // channels_last
  const float* positions;
  float* cell_sums;    // D, (stretches, blocks of outputs, blocks of channels, cells, outputs, channels)
  CornerCells* cells;  // (blocks of outputs)
  float* bias_sums;    // (stretches, O), or null
  int out_channels;
  int stretches;
  int64_t stretch;  // tiles
  bool weights, positions_too;  // what is asked for
  bool image_aligned, gradient_aligned;

  ACU_HOST_DEVICE int segment_outputs() const { return out_channels / geometry.segments; }
  ACU_HOST_DEVICE int segment_blocks() const { return (segment_outputs() + kBlockOutputs - 1) / kBlockOutputs; }
  ACU_HOST_DEVICE int output_blocks() const { return geometry.segments * segment_blocks(); }
  ACU_HOST_DEVICE int channel_blocks() const { return (geometry.group_channels + kBlockChannels - 1) / kBlockChannels; }
  ACU_HOST_DEVICE int most_cells() const { return kCorners * geometry.synapses; }
  // Of D, for one stretch.
  ACU_HOST_DEVICE int64_t stretch_sums() const {
    return int64_t{output_blocks()} * channel_blocks() * most_cells() * kBlockElements;
  }
  // Where D of a cell begins within a stretch.
  ACU_HOST_DEVICE int64_t first_sum(int output_block, int channel_block, int cell) const {
    return ((int64_t{output_block} * channel_blocks() + channel_block) * most_cells() + cell) * kBlockElements;
  }
};

}  // namespace acu::cuda
