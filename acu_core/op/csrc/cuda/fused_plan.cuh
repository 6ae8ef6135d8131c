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
// A third and half of what a multiprocessor of 8.0 has: so many blocks stand on one, and of 9.0 too.
constexpr int64_t kSharedThird = 53 << 10, kSharedHalf = 81 << 10;
// Beyond the tile itself: a 7x7 unit on the grid, with the next row and column.
constexpr int kWindowReach = 7;
constexpr int64_t kWindowPixels = 832;
// Blocks of the corners: two for each multiprocessor of an H100. And tiles that are worth the sums of a block of their own.
constexpr int64_t kBlocksWanted = 264;
constexpr int64_t kTilesWorthwhile = 4;
constexpr int64_t kPartialBytes = int64_t{128} << 20;
// Of the weights of cells: as many as a synapse has corners times those of synapses, at most.
constexpr int64_t kFoldedBytes = int64_t{256} << 20;
// 3x3 between pixels.
constexpr int kCellsAtOnce = 16;
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

// Tiles of so many pixels in lines of so many, along rows or, where less of the tiles is then empty, over images. About
// square, so that windows are small.
inline Tiling tiling_in_lines(const Sampling& sampling, int pixels, int line) {
  const int row_lines = std::min(power_of_two_from(sampling.out_height), pixels / line);
  const Tiling along = tiling_of(sampling, pixels / (line * row_lines), row_lines, line, line, false);
  const int columns = std::min(power_of_two_from(sampling.out_width), 4);
  const int rows = std::min(power_of_two_from(sampling.out_height), pixels / line / columns);
  const Tiling over = tiling_of(sampling, pixels / (columns * rows), rows, columns, line, true);
  return over.tiles() < along.tiles() ? over : along;
}

// Of a product: a line is as many pixels as a fragment has rows.
inline Tiling product_tiling(const Sampling& sampling) { return tiling_in_lines(sampling, kProductPixels, kSide); }

// Of the corners: as many as one product adds up.
template <typename T>
Tiling corner_tiling(const Sampling& sampling) {
  return tiling_in_lines(sampling, kTilePixels, kProductDepth<T>);
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

struct ProductPlan {
  int fragments;  // of outputs
  int at_once, capacity;
  int64_t bytes, blocks;  // blocks: of result channels, over all bundles
};

// Calls function with each number of fragments that is compiled.
template <typename Function>
void for_each_fragments(const Function& function) {
  function(std::integral_constant<int, 1>{});
  function(std::integral_constant<int, 2>{});
  function(std::integral_constant<int, 3>{});
  function(std::integral_constant<int, 4>{});
  function(std::integral_constant<int, 6>{});
}

// How many blocks of a product one multiprocessor is to hold, by their registers: sums take 16 for a fragment.
constexpr int blocks_each(int fragments) { return fragments < 2 ? 3 : fragments < 6 ? 2 : 1; }

constexpr int64_t room_of_block(int fragments) {
  return fragments < 2 ? kSharedThird : fragments < 6 ? kSharedHalf : kSharedLimit;
}

// What a product of so many fragments takes on an H100, in no unit: what a block does for each chunk, whatever its
// outputs, and for each fragment of them; and how many multiprocessors there are, which issue about twice as much for
// several blocks as for one.
constexpr int64_t kChunkCost = 7, kFragmentCost = 1, kMultiprocessors = 132;

inline int64_t product_cost(int fragments, int64_t blocks) {
  const int64_t each = ceil_div(blocks, kMultiprocessors);
  const bool alone = each == 1 || blocks_each(fragments) == 1;
  return each * (kChunkCost + kFragmentCost * fragments) * (alone ? 11 : 6);
}

// The call's numbers, without the plan's and without tensors.
template <typename T>
ProductProblem<T> product_problem(const Geometry& geometry, int64_t images, int out_channels, bool mirrored) {
  ProductProblem<T> problem{};
  problem.geometry = geometry;
  problem.sampling = mirrored ? mirrored_sampling(geometry, images) : forward_sampling(geometry, images);
  problem.tiling = product_tiling(problem.sampling);
  problem.mirrored = mirrored;
  problem.out_channels = out_channels;
  problem.segment_outputs = out_channels / geometry.segments;
  problem.bundle_channels = mirrored ? geometry.group_channels : problem.segment_outputs;
  problem.sources = mirrored ? geometry.segments / geometry.groups : 1;
  problem.source_channels = mirrored ? problem.segment_outputs : geometry.group_channels;
  problem.chunks = ceiling(problem.source_channels, kProductDepth<T>);
  problem.image_channels = mirrored ? out_channels : geometry.channels;
  problem.result_channels = mirrored ? geometry.channels : out_channels;
  return problem;
}

// The cheapest way that fits into shared memory: products of padding cost, and so does reading the same pixels once more.
template <typename T>
std::optional<ProductPlan> product_plan(const ProductProblem<T>& problem) {
  const Tiling& tiling = problem.tiling;
  const int64_t high = int64_t{tiling.rows - 1} * problem.sampling.stride_h + 1,
                wide = int64_t{tiling.columns - 1} * problem.sampling.stride_w + 1;
  const int64_t least = tiling.images * high * wide;
  const int64_t wanted = tiling.images * (high + kWindowReach) * (wide + kWindowReach);
  const int64_t capacity = std::max(least, std::min(wanted, kWindowPixels));
  if (capacity * 32 > kSharedLimit || problem.geometry.synapses > kMostSynapses || tiling.tiles() >= INT32_MAX)
    return std::nullopt;
  const int bundles = problem.mirrored ? problem.geometry.groups : problem.geometry.segments;
  std::optional<ProductPlan> best;
  int64_t lowest = 0;
  for_each_fragments([&](auto fragments) {
    using Memory = ProductMemory<T, decltype(fragments)::value>;
    const int64_t blocks = int64_t{bundles} * ceiling(problem.bundle_channels, Memory::kOutputs);
    const int64_t cost = product_cost(fragments, tiling.tiles() * blocks);
    Memory memory{std::min(kCellsAtOnce, problem.most_cells()), static_cast<int>(capacity)};
    while (memory.at_once > 1 && memory.bytes() > room_of_block(fragments)) --memory.at_once;
    const int64_t folded = FoldedWeights<T, decltype(fragments)::value>::numbers(problem, blocks);
    if (memory.bytes() > kSharedLimit || blocks > kLargestGrid || problem.sources > kLargestGrid ||
        folded * int64_t{sizeof(T)} > kFoldedBytes || (best && cost >= lowest))
      return;
    best = ProductPlan{fragments, memory.at_once, memory.capacity, memory.bytes(), blocks};
    lowest = cost;
  });
  return best;
}

inline bool has_stride(const Geometry& geometry) { return geometry.stride_h != 1 || geometry.stride_w != 1; }

// The stretches into which the tiles are cut, whose sums are added up at the end.
template <typename T>
void cut_into_stretches(CornerProblem<T>& problem) {
  const int64_t tiles = std::max<int64_t>(problem.tiling.tiles(), 1);
  const int64_t blocks = int64_t{problem.output_blocks()} * problem.channel_blocks();
  const int64_t each = problem.stretch_sums() * static_cast<int64_t>(sizeof(float));
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
  if (!product_plan(product_problem<T>(geometry, images, channels, false))) return false;
  CornerProblem<T> corners{};
  corners.geometry = geometry;
  corners.out_channels = channels;
  if (corners.output_blocks() > kLargestGrid || corners.channel_blocks() > kLargestGrid ||
      corners.stretch_sums() * int64_t{sizeof(float)} > kPartialBytes ||
      corner_tiling<T>(forward_sampling(geometry, images)).tiles() >= INT32_MAX) {
    return false;
  }
  return has_stride(geometry) || product_plan(product_problem<T>(geometry, images, channels, true)).has_value();
}

}  // namespace acu::cuda
