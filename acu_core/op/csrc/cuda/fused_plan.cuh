// How a call is cut for the fused kernels, and whether they take it at all. Nothing here depends on the GPU: the same
// call is cut in the same way on each, so that its sums have the same order.
#pragma once

#include <algorithm>
#include <optional>

#include "fused_sums.cuh"
#include "fused_weights.cuh"

namespace acu::cuda {

// What every GPU from compute capability 8.0 on gives a block: those of 8.6 and 8.9 have the least.
constexpr int64_t kSharedLimit = 99 << 10;
// Half of what a multiprocessor of 8.0 has: two blocks stand on one, and of 9.0 too.
constexpr int64_t kSharedHalf = 81 << 10;
// Beyond the tile itself: a 7x7 unit on the grid, with the next row and column.
constexpr int kWindowReach = 7;
constexpr int64_t kWindowPixels = 640;
// Blocks of the corners: two for each multiprocessor of an H100. And tiles that are worth the sums of a block of their own.
constexpr int64_t kBlocksWanted = 264;
constexpr int64_t kTilesWorthwhile = 4;
constexpr int64_t kPartialBytes = int64_t{128} << 20;
constexpr int kLargestFusedExtent = 1 << 24;
constexpr int64_t kLargestGrid = 65535;  // along y and z
// Below, most of a fragment would be padding.
constexpr int kFewestChannels = 8;

inline int power_of_two_from(int number) {
  int power = 1;
  while (power < number) power *= 2;
  return power;
}

inline int64_t ceil_div(int64_t number, int64_t divisor) { return (number + divisor - 1) / divisor; }

inline int ceiling(int number, int divisor) { return static_cast<int>(ceil_div(number, divisor)); }

inline Tiling tiling_of(const Sampling& sampling, int images, int rows, int columns, int line, bool over_images) {
  return {images,
          rows,
          columns,
          ceiling(sampling.images, images),
          ceiling(sampling.out_height, rows),
          ceiling(sampling.out_width, columns),
          line,
          over_images};
}

// About square, so that windows are small; small images several at once.
inline Tiling blend_tiling(const Sampling& sampling) {
  const int columns = std::min(power_of_two_from(sampling.out_width), 16);
  const int rows = std::min(power_of_two_from(sampling.out_height), kTilePixels / columns);
  return tiling_of(sampling, kTilePixels / (columns * rows), rows, columns, 1, false);
}

// Lines of what one product adds up, along rows or, where less of the tiles is then empty, over images.
inline Tiling corner_tiling(const Sampling& sampling, int depth) {
  const int row_lines = std::min(power_of_two_from(sampling.out_height), kTilePixels / depth);
  const Tiling along = tiling_of(sampling, kTilePixels / (depth * row_lines), row_lines, depth, depth, false);
  const int columns = std::min(power_of_two_from(sampling.out_width), 4);
  const int rows = std::min(power_of_two_from(sampling.out_height), kTilePixels / depth / columns);
  const Tiling over = tiling_of(sampling, kTilePixels / (columns * rows), rows, columns, depth, true);
  return over.tiles() < along.tiles() ? over : along;
}

// The call's own product.
inline Sampling forward_sampling(const Geometry& geometry, int64_t images) {
  return {static_cast<int>(images), geometry.height,   geometry.width,   geometry.out_height, geometry.out_width,
          geometry.stride_h,        geometry.stride_w, geometry.pad_top, geometry.pad_left};
}

// That of the input's gradient, at stride 1.
inline Sampling mirrored_sampling(const Geometry& geometry, int64_t images) {
  return {static_cast<int>(images), geometry.out_height, geometry.out_width, geometry.height, geometry.width, 1, 1,
          -geometry.pad_top,        -geometry.pad_left};
}

struct BlendPlan {
  int fragments;  // of outputs, for each of two warps side by side
  int at_once, capacity;
  int64_t bytes, blocks;  // blocks: of result channels, over all bundles
};

// Calls function with each number of fragments that is compiled.
template <typename Function>
void for_each_fragments(const Function& function) {
  function(std::integral_constant<int, 1>{});
  function(std::integral_constant<int, 2>{});
  function(std::integral_constant<int, 3>{});
  function(std::integral_constant<int, 6>{});
}

// How many blocks of a blended product one multiprocessor is to hold, by their registers: sums take 16 for a fragment.
constexpr int blocks_each(int fragments) { return fragments < 6 ? 2 : 1; }

// What a product of so many fragments takes on an H100, in no unit: instructions of a block, for each column that it
// blends and for each fragment that it multiplies it by; and how many multiprocessors there are, which issue about
// twice as much for two blocks as for one.
constexpr int64_t kBlendingCost = 104, kFragmentCost = 6, kMultiprocessors = 132;

inline int64_t blend_cost(int fragments, int64_t blocks) {
  const int64_t each = ceil_div(blocks, kMultiprocessors);
  const bool alone = each == 1 || blocks_each(fragments) == 1;
  return each * (kBlendingCost + kFragmentCost * fragments) * (alone ? 11 : 6);
}

// The cheapest way that fits into shared memory: products of padding cost, and so does blending the same once more.
template <typename T>
std::optional<BlendPlan> blend_plan(const Sampling& sampling, int synapses, int bundles, int bundle_channels) {
  const Tiling tiling = blend_tiling(sampling);
  const int64_t high = int64_t{tiling.rows - 1} * sampling.stride_h,
                wide = int64_t{tiling.columns - 1} * sampling.stride_w;
  const int64_t least = tiling.images * (high + 2) * (wide + 2);
  const int64_t wanted = tiling.images * (high + 1 + kWindowReach) * (wide + 1 + kWindowReach);
  const int64_t capacity = std::max(least, std::min(wanted, kWindowPixels));
  if (capacity * 32 > kSharedLimit || synapses > kMostSynapses) return std::nullopt;
  std::optional<BlendPlan> best;
  int64_t lowest = 0;
  for_each_fragments([&](auto fragments) {
    using Memory = BlendMemory<T, decltype(fragments)::value>;
    const int64_t blocks = int64_t{bundles} * ceiling(bundle_channels, Memory::kOutputs);
    const int64_t cost = blend_cost(fragments, tiling.tiles() * blocks);
    Memory memory{synapses, std::min(3, synapses), static_cast<int>(capacity)};
    const int64_t room = blocks_each(fragments) == 1 ? kSharedLimit : kSharedHalf;
    while (memory.at_once > 1 && memory.bytes() > room) --memory.at_once;
    if (memory.bytes() > kSharedLimit || (best && cost >= lowest)) return;
    best = BlendPlan{fragments, memory.at_once, memory.capacity, memory.bytes(), blocks};
    lowest = cost;
  });
  return best;
}

template <typename T>
std::optional<BlendPlan> forward_plan(const Geometry& geometry, int64_t images, int out_channels) {
  return blend_plan<T>(forward_sampling(geometry, images), geometry.synapses, geometry.segments,
                       out_channels / geometry.segments);
}

template <typename T>
std::optional<BlendPlan> mirrored_plan(const Geometry& geometry, int64_t images) {
  return blend_plan<T>(mirrored_sampling(geometry, images), geometry.synapses, geometry.groups,
                       geometry.group_channels);
}

inline bool has_stride(const Geometry& geometry) { return geometry.stride_h != 1 || geometry.stride_w != 1; }

// The stretches into which the tiles are cut, whose sums are added up at the end.
template <typename T>
void cut_into_stretches(CornerProblem<T>& problem) {
  const int64_t tiles = std::max<int64_t>(problem.tiling.tiles(), 1);
  const int64_t blocks = int64_t{problem.output_blocks()} * problem.channel_blocks();
  const int64_t each = int64_t{problem.out_channels} * problem.geometry.group_channels * problem.geometry.synapses *
                       static_cast<int64_t>(sizeof(float));
  int64_t stretches = std::min(ceil_div(kBlocksWanted, blocks), ceil_div(tiles, kTilesWorthwhile));
  stretches = std::max<int64_t>(std::min(stretches, kPartialBytes / each), 1);
  problem.stretch = ceil_div(tiles, stretches);
  problem.stretches = static_cast<int>(ceil_div(tiles, problem.stretch));
}

// Whether the fused kernels compute such a call.
template <typename T>
bool fused_fits(const Geometry& geometry, int64_t images, int64_t out_channels) {
  for (const int extent : {geometry.height, geometry.width, geometry.out_height, geometry.out_width, geometry.stride_h,
                           geometry.stride_w, std::abs(geometry.pad_top), std::abs(geometry.pad_left)}) {
    if (extent > kLargestFusedExtent) return false;
  }
  const int64_t outputs = out_channels / geometry.segments;
  if (images > kLargestFusedExtent || out_channels > kLargestFusedExtent ||
      std::min<int64_t>(outputs, geometry.group_channels) < kFewestChannels) {
    return false;
  }
  const int channels = static_cast<int>(out_channels);
  const auto forward = forward_plan<T>(geometry, images, channels);
  if (!forward || forward->blocks > kLargestGrid ||
      blend_tiling(forward_sampling(geometry, images)).tiles() >= INT32_MAX)
    return false;
  if (corner_tiling(forward_sampling(geometry, images), kProductDepth<T>).tiles() >= INT32_MAX) return false;
  CornerProblem<T> corners{};
  corners.geometry = geometry;
  corners.out_channels = channels;
  if (corners.output_blocks() > kLargestGrid || corners.channel_blocks() > kLargestGrid) return false;
  if (has_stride(geometry)) return true;
  const auto mirrored = mirrored_plan<T>(geometry, images);
  return mirrored && mirrored->blocks <= kLargestGrid &&
         blend_tiling(mirrored_sampling(geometry, images)).tiles() < INT32_MAX;
}

}  // namespace acu::cuda
