// How the work of a call is cut: into column blocks (which synapses and channels are in the buffer at once), tiles
// (which output pixels), and slots (which thread owns which tiles).

#pragma once

#include "geometry.h"

namespace acu {

// Synapses [synapse_begin, synapse_end) of input channels [channel_begin, channel_end): one width of the column buffer.
// A column is ordered synapse first, channel second.
struct Block {
  int64_t synapse_begin, synapse_end, channel_begin, channel_end;
  int64_t weight_offset;     // where the block's weight stands in the packed forward weight (and in its gradient)
  int64_t transposed_offset;  // where it stands in the packed transposed weight

  int64_t channels() const { return channel_end - channel_begin; }
  int64_t columns() const { return (synapse_end - synapse_begin) * channels(); }
};

struct SegmentPlan {
  Segment segment;
  std::vector<Block> blocks;

  int64_t outputs() const { return segment.out_end - segment.out_begin; }
};

// Output pixels that stand next to each other in channels_last order: whole images, or whole rows of one image, or a
// part of one row.
struct Tile {
  int64_t image, images, row, rows, column, width;

  int64_t pixels() const { return images * rows * width; }
};

constexpr int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }
constexpr int64_t ceil_div(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }

// About 192 pixels keep the buffer of a block (192 x 432 floats) within a 512 KiB second-level cache, and are enough
// to amortise one pass over the weight's gradient. Speed is flat within 10 % from half to twice of it.
constexpr int64_t kTilePixels = 192;
// A panel of the packed weight (432 rows of 16 floats) fits in a first-level cache of 32 KiB.
constexpr int64_t kBlockColumns = 432;

struct Plan {
  Geometry geometry;
  int64_t panel;  // output channels in a panel of the packed weight: two vectors of the instruction set
  std::vector<SegmentPlan> segments;
  int64_t packed_size = 0, transposed_size = 0;   // elements of the packed weight and of its transpose
  int64_t widest_block = 0, buffer_stride = 0;    // columns of the widest block; elements between rows of the buffer
  int64_t images_per_tile, rows_per_tile, pixels_per_tile_row, tiles_per_image_group, tile_count;
  int64_t images_per_share, tiles_per_share;      // a share: the images of one slot, where tiles are whole images

  Plan(const Geometry& g, int64_t panel_width, int64_t slots) : geometry(g), panel(panel_width) {
    for (const Segment& segment : cut_into_segments(g)) {
      segments.push_back({segment, {}});
      cut_into_blocks(segments.back());
    }
    // An odd number of cache lines between rows spreads a column of the buffer over all sets of the cache.
    buffer_stride = round_up(widest_block, 16);
    if (buffer_stride / 16 % 2 == 0) buffer_stride += 16;
    cut_into_tiles(slots);
  }

  Tile tile(int64_t index) const {
    const Geometry& g = geometry;
    if (tiles_per_image_group == 1) {
      const int64_t share = index / tiles_per_share, image = index % tiles_per_share * images_per_tile;
      const int64_t share_images = std::min(images_per_share, g.images - share * images_per_share);
      return {share * images_per_share + image, std::min(images_per_tile, share_images - image), 0, g.out_height, 0,
              g.out_width};
    }
    const int64_t within = index % tiles_per_image_group;
    Tile tile{index / tiles_per_image_group, 1, 0, g.out_height, 0, g.out_width};
    if (pixels_per_tile_row == g.out_width) {
      tile.row = within * rows_per_tile;
      tile.rows = std::min(rows_per_tile, g.out_height - tile.row);
    } else {
      const int64_t pieces = ceil_div(g.out_width, pixels_per_tile_row);
      tile.row = within / pieces;
      tile.rows = 1;
      tile.column = within % pieces * pixels_per_tile_row;
      tile.width = std::min(pixels_per_tile_row, g.out_width - tile.column);
    }
    return tile;
  }

  int64_t largest_tile() const { return images_per_tile * rows_per_tile * pixels_per_tile_row; }

  // Tiles of slot `slot` of `slots`: contiguous, and the same for the same number of slots, so that sums come out alike.
  int64_t first_tile(int64_t slot, int64_t slots) const { return tile_count * slot / slots; }

 private:
  void cut_into_blocks(SegmentPlan& plan) {
    const int64_t channels = plan.segment.in_end - plan.segment.in_begin, synapses = geometry.synapses;
    const int64_t channel_pieces = ceil_div(channels, kBlockColumns);
    const int64_t channels_at_once = ceil_div(channels, channel_pieces);
    const int64_t most_synapses = std::max<int64_t>(1, kBlockColumns / channels_at_once);
    const int64_t synapses_at_once = ceil_div(synapses, ceil_div(synapses, most_synapses));
    for (int64_t c = plan.segment.in_begin; c < plan.segment.in_end; c += channels_at_once) {
      for (int64_t k = 0; k < synapses; k += synapses_at_once) {
        Block block{k, std::min(k + synapses_at_once, synapses), c,
                    std::min(c + channels_at_once, plan.segment.in_end), packed_size, transposed_size};
        const bool depthwise = geometry.depthwise();
        packed_size += depthwise ? block.columns() : round_up(plan.outputs(), panel) * block.columns();
        transposed_size += depthwise ? block.columns() : round_up(block.columns(), panel) * plan.outputs();
        widest_block = std::max(widest_block, block.columns());
        plan.blocks.push_back(block);
      }
    }
  }

  void cut_into_tiles(int64_t slots) {
    const Geometry& g = geometry;
    // Fewer pixels than that only when there is otherwise no work for every slot.
    const int64_t target = std::clamp<int64_t>(ceil_div(g.images * g.out_pixels(), slots), 48, kTilePixels);
    images_per_tile = 1;
    rows_per_tile = g.out_height;
    pixels_per_tile_row = g.out_width;
    if (g.out_pixels() <= target) {
      images_per_tile = std::clamp<int64_t>(target / g.out_pixels(), 1, std::max<int64_t>(g.images, 1));
      tiles_per_image_group = 1;
    } else if (g.out_width <= target) {
      rows_per_tile = ceil_div(g.out_height, ceil_div(g.out_pixels(), target));
      tiles_per_image_group = ceil_div(g.out_height, rows_per_tile);
    } else {
      rows_per_tile = 1;
      pixels_per_tile_row = ceil_div(g.out_width, ceil_div(g.out_width, target));
      tiles_per_image_group = g.out_height * ceil_div(g.out_width, pixels_per_tile_row);
    }
    // Each share ends with a short tile rather than that one slot has a tile more than the others.
    images_per_share = std::max<int64_t>(ceil_div(g.images, slots), 1);
    tiles_per_share = ceil_div(images_per_share, images_per_tile);
    tile_count = g.images * tiles_per_image_group;
    if (tiles_per_image_group == 1) {
      tile_count = g.images / images_per_share * tiles_per_share +
                   ceil_div(g.images % images_per_share, images_per_tile);
    }
  }
};

}  // namespace acu
