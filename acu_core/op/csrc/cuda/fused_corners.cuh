// What the gradients of weights and positions are made of (fused_gradients.cuh), and how a block's shared memory is
// divided.
#pragma once

#include "fused_cells.cuh"

namespace acu::cuda {

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
  float moved[kWarps][kMostSynapses][2];  // what a warp has summed up for the positions so far
  // Of the tile at hand and the cells at hand:
  int offset[kCells];  // in the window; -1 if the cell lies outside the image
  int line[kTilePixels / 8];
  Window window;
  bool one_window;
};

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

}  // namespace acu::cuda
