// How the work of a call is cut. The words, for all of csrc, each with one meaning:
//
//   segment  output channels that read the same input channels at the same positions (geometry.h)
//   column   one synapse of one channel: what each output pixel reads there. Pixels by columns is the matrix that is
//            multiplied with the weight
//   block    synapses and channels of a segment whose columns are in the buffer at once
//   tile     output pixels whose columns are in the buffer at once: whole images, whole rows, or a part of one row
//   panel    columns or outputs that the matrix product takes together, two vectors or with AVX-512 three: buffer and
//            packed weights are cut into panels, the last of them padded
//   strip    columns of one synapse along a row of output pixels, of all channels: where there are few (few_channels.h)
//   chunk    channels that the column pass takes together: a panel, a vector, or less (chunk_channels); never across
//            two panels
//   slot     consecutive tiles that one thread works through in backward, and the sums that it keeps for itself
//   portion  consecutive tiles of forward: smaller than a slot's, handed to whichever thread is done with its last
//   quota    where tiles are whole images: the images of one slot if all had the same number
//   cell     a pixel that a corner of a synapse falls on, counted from the output pixel; for depthwise convolutions, which
//            are computed in cells in place of columns (cells.h)
//   mirrored of a convolution: seen from its output, each pixel of the input gathers what it gave (geometry.h)
//   share    what a row or a column of pixels counts in a blend: 1 - fraction or fraction
//
// and where products are of tile registers (split.h, tile_product.h):
//
//   part     one of three bfloat16 whose sum is a float
//   side     one of two matrices that are multiplied, put down in tiles of each part
//   step     32 of the depth of a product, or the last 16 by themselves
//   (A tile there is AMX's, a register or what it is loaded from.)
//
// and for CUDA, where one matrix holds the columns of all segments:
//
//   slice    output pixels whose columns are in scratch memory at once
//   entry    neighbouring channels of one synapse of one segment that one thread takes, 16 bytes where it can
//   stretch  output pixels of a slice over which one thread walks with its entry
//   coefficient  what a corner counts in a blend: the product of two shares
//   (A block there is CUDA's, a block of threads.)
//
// and for CUDA's fused kernels, which have no columns in memory (cuda/fused_*.cuh):
//
//   window   the image pixels that a tile's synapses see, in shared memory
//   line     evenly spaced pixels of a tile that a product takes together: those that it adds up, or a fragment's rows
//   bundle   channels of a result that read the same channels; each set of positions that they read at is a source
//   cell     a whole number of rows and columns from an output pixel to one of the four that a synapse blends
//   stretch  tiles over which one block walks

#pragma once

#include "element.h"
#include "geometry.h"

namespace acu {

// Synapses [synapse_begin, synapse_end) of input channels [channel_begin, channel_end): what is in the column buffer at
// once. Columns are ordered by chunks of channels (see chunk_channels), then synapses, then the channels of the chunk.
struct Block {
  int64_t synapse_begin, synapse_end, channel_begin, channel_end;
  int64_t weight_offset;      // where the block's weight stands in the packed forward weight
  int64_t transposed_offset;  // where it stands in the packed transposed weight, and in the weight's gradient
  int64_t split_offset = 0, split_transposed_offset = 0;  // where it stands once these are split (split.h): elements

  int64_t synapses() const { return synapse_end - synapse_begin; }
  int64_t channels() const { return channel_end - channel_begin; }
  int64_t columns() const { return synapses() * channels(); }
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
  bool interleaved = false;  // in the column buffer the same pixel of all images stands together

  int64_t pixels() const { return images * rows * width; }

  // Pixels of the buffer from a pixel to the next of its row, and from an image to the next.
  int64_t pixel_step() const { return interleaved ? images : 1; }
  int64_t image_step() const { return interleaved ? 1 : rows * width; }
};

constexpr int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }
constexpr int64_t ceil_div(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }

// What does not fill a vector goes in halves of one, where that is wider than four, in fours, and one by one (vector.h).
constexpr int64_t narrower(int64_t lanes) { return lanes > 4 ? lanes / 2 : 1; }

// What is measured for each instruction set, because the processors that have it differ in registers and caches.
struct Sizes {
  int64_t vector, panel;  // elements in a vector, and in a panel of columns or outputs, which is a few vectors
  // Output pixels of a tile, about. More than 32, for the gradient of the weight is read and written once a tile.
  int64_t tile_pixels;
  // Columns of a block, at most. A panel of the packed weight and the pixels that pass it share the first-level cache.
  int64_t block_columns;
  // Small images go as many together, the same pixel of each beside the other: as many as the micro-kernel has rows, so that
  // each synapse is seen or not seen by all of a product's pixels alike. 1: they do not.
  int64_t interleaved_images;
};

// Elements of 16 bits of a split matrix (split_products.h): tiles of 16 columns and a depth of 32, and of each three.
constexpr int64_t split_elements(int64_t columns, int64_t depth) {
  return ceil_div(columns, 16) * ceil_div(depth, 32) * 3 * 16 * 32;
}

// How many of `left` channels the column pass takes together: a panel, a vector, or what is narrower than that. Each
// width divides the wider ones, so that no chunk lies across two panels. Columns are laid out by these chunks: over_chunks
// (columns.h) walks them, columns_of (columns.h) finds them, columns_in_weight (pack.h) packs for them.
constexpr int64_t chunk_channels(const Sizes& sizes, int64_t left) {
  if (left >= sizes.panel) return sizes.panel;
  int64_t lanes = sizes.vector;
  while (lanes > left) lanes = narrower(lanes);
  return lanes;
}

// Output pixels of a tile of a depthwise convolution, about: for these and for as many of the input a vector each, which
// together fit a first-level cache.
constexpr int64_t kDepthwiseTilePixels = 320;

// Output pixels of an image, at most, whose images are interleaved: its border is little of a larger one.
constexpr int64_t kInterleavedPixels = 64;

struct Plan {
  Geometry geometry;
  Sizes sizes;
  int64_t panel;            // columns or outputs in a panel
  bool interleaves = false;  // whether the images of a tile are interleaved
  bool few_channels;        // whether vectors run along rows of pixels, not along channels (few_channels.h)
  int64_t padded_channels;  // of an image as the kernels see it
  int64_t row_margin = 0;   // zeros before and behind each image row, where there are few channels: elements
  std::vector<SegmentPlan> segments;
  int64_t packed_size = 0, transposed_size = 0;  // elements of the packed weight and of its transpose
  int64_t split_size = 0, split_transposed_size = 0;  // and of both once they are split
  int64_t widest_block = 0;                      // columns of the widest block
  int64_t images_per_tile, rows_per_tile, pixels_per_tile_row, tiles_per_image_group, tile_count;
  int64_t images_per_quota, tiles_per_quota;

  Plan(const Geometry& g, const Sizes& of_instruction_set, int64_t slots)
      : geometry(g), sizes(of_instruction_set), panel(of_instruction_set.panel) {
    few_channels = !g.mirrored() && g.groups == 1 && (g.channels == 1 || g.channels == 3) && g.stride.w == 1 &&
                   g.synapses * g.channels <= sizes.block_columns;
    // Three channels would go one by one, four go together. Each group would need padding of its own.
    padded_channels = g.groups == 1 && !few_channels && !g.mirrored() ? round_up(g.channels, 4) : g.channels;
    cut_into_tiles(slots);
    for (const Segment& segment : cut_into_segments(g)) {
      segments.push_back({segment, {}});
      cut_into_blocks(segments.back());
    }
    // A strip that sees anything begins a width before the image at the earliest, and at its last pixel at the latest.
    if (few_channels) row_margin = round_up((pixels_per_tile_row + 2) * g.channels, sizes.vector) + sizes.vector;
  }

  // Elements of an image row as the kernels see it.
  int64_t row_size() const {
    const int64_t size = geometry.width * padded_channels;
    return few_channels ? round_up(size, sizes.vector) + 2 * row_margin : size;
  }

  // Elements of the weight's gradient as a slot sums it: in the order of the transposed weight, of the packed one, or, of a
  // depthwise convolution, of the weight itself.
  int64_t gradient_size() const {
    if (geometry.depthwise()) return geometry.channels * geometry.synapses;
    return few_channels ? packed_size : transposed_size;
  }

  Tile tile(int64_t index) const {
    const Geometry& g = geometry;
    if (tiles_per_image_group == 1) {
      const int64_t quota = index / tiles_per_quota, image = index % tiles_per_quota * images_per_tile;
      const int64_t quota_images = std::min(images_per_quota, g.images - quota * images_per_quota);
      const int64_t images = std::min(images_per_tile, quota_images - image);
      return {quota * images_per_quota + image, images, 0, g.out_height, 0, g.out_width, interleaves && images > 1};
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

  // Elements from one panel of the column buffer to the next: [panel][pixel][column of the panel].
  int64_t panel_step() const { return largest_tile() * panel; }
  int64_t buffer_size() const { return ceil_div(widest_block, panel) * panel_step(); }

  int64_t largest_tile() const { return images_per_tile * rows_per_tile * pixels_per_tile_row; }

  // Where part `part` of `parts` begins, a slot or a portion: contiguous, and the same for the same number of parts, so that
  // sums come out alike.
  int64_t first_tile(int64_t part, int64_t parts) const { return tile_count * part / parts; }

  // Whether the kernels work on copies of the images, in channels_last and with padded channels.
  bool copies_images(Layout layout) const {
    return copies_outputs(layout) || few_channels || padded_channels != geometry.channels;
  }

  // Whether output and its gradient pass through a copy: they have no padding.
  static bool copies_outputs(Layout layout) { return !layout.channels_last || layout.element != Element::kOwn; }

  // Portions of forward for `slots` threads: enough for an even end. Where images are copied a portion is whole images,
  // since the first tile of each copies rows that the tile before it has copied too.
  int64_t portions(int64_t slots, Layout layout) const {
    if (slots == 1) return 1;
    // Each one has its own scratch, of which a depthwise one has much for little work.
    if (geometry.depthwise()) return std::min(tile_count, slots * 8);
    if (copies_images(layout)) return std::clamp(geometry.images, slots, std::max(slots, tile_count));
    return std::min(tile_count, slots * 32);
  }

 private:
  // Few channels with all their synapses before more channels: the columns of a block then come from few lines of the
  // image, which stay in the first-level cache.
  void cut_into_blocks(SegmentPlan& plan) {
    if (few_channels) {
      const int64_t columns = geometry.synapses * geometry.channels;
      plan.blocks.push_back({0, geometry.synapses, 0, geometry.channels, packed_size, transposed_size});
      packed_size += round_up(plan.outputs(), sizes.vector) * columns;
      transposed_size += round_up(columns, sizes.vector) * plan.outputs();
      widest_block = columns;
      return;
    }
    const int64_t begin = plan.segment.in_begin;
    const bool padded = geometry.groups == 1 && !geometry.mirrored();
    const int64_t end = padded ? padded_channels : plan.segment.in_end, channels = end - begin;
    const int64_t synapses = geometry.synapses;
    // A tile of interleaved images has more pixels, and the buffer should not be larger.
    const int64_t most_columns = interleaves ? sizes.block_columns / 2 : sizes.block_columns;
    const int64_t most_channels = std::max(panel, most_columns / synapses / panel * panel);
    const int64_t channels_at_once = round_up(ceil_div(channels, ceil_div(channels, most_channels)), panel);
    for (int64_t c = begin; c < end; c += channels_at_once) {
      // The last channels may be fewer, and then more of their synapses go together.
      const int64_t most_synapses = std::max<int64_t>(1, most_columns / std::min(channels_at_once, end - c));
      const int64_t synapses_at_once = ceil_div(synapses, ceil_div(synapses, most_synapses));
      for (int64_t k = 0; k < synapses; k += synapses_at_once) {
        Block block{k, std::min(k + synapses_at_once, synapses), c, std::min(c + channels_at_once, end), packed_size,
                    transposed_size};
        packed_size += round_up(plan.outputs(), panel) * block.columns();
        transposed_size += round_up(block.columns(), panel) * plan.outputs();
        block.split_offset = split_size, block.split_transposed_offset = split_transposed_size;
        split_size += split_elements(plan.outputs(), block.columns());
        split_transposed_size += split_elements(block.columns(), plan.outputs());
        widest_block = std::max(widest_block, block.columns());
        plan.blocks.push_back(block);
      }
    }
  }

  // The most output rows that one of `slots` has when tiles are of so many.
  int64_t rows_of_busiest(int64_t slots, int64_t rows) const {
    const Geometry& g = geometry;
    const int64_t per_image = ceil_div(g.out_height, rows), tiles = g.images * per_image;
    const auto rows_before = [&](int64_t tile) {
      return tile / per_image * g.out_height + std::min(tile % per_image * rows, g.out_height);
    };
    int64_t most = 0;
    for (int64_t slot = 0; slot < slots; ++slot) {
      most = std::max(most, rows_before(tiles * (slot + 1) / slots) - rows_before(tiles * slot / slots));
    }
    return most;
  }

  void cut_into_tiles(int64_t slots) {
    const Geometry& g = geometry;
    // Fewer pixels than that only when there is otherwise no work for every slot.
    const int64_t most = g.depthwise() ? kDepthwiseTilePixels : sizes.tile_pixels;
    const int64_t target = std::clamp<int64_t>(ceil_div(g.images * g.out_pixels(), slots), 48, most);
    images_per_tile = 1;
    rows_per_tile = g.out_height;
    pixels_per_tile_row = g.out_width;
    if (g.out_pixels() <= target) {
      images_per_tile = std::clamp<int64_t>(target / g.out_pixels(), 1, std::max<int64_t>(g.images, 1));
      tiles_per_image_group = 1;
    } else if (g.out_width <= target) {
      // As many pixels or more, or no more than that, where the busiest slot has less to do then.
      const int64_t more = ceil_div(g.out_height, ceil_div(g.out_pixels(), target)), fewer = target / g.out_width;
      rows_per_tile = rows_of_busiest(slots, fewer) < rows_of_busiest(slots, more) ? fewer : more;
      tiles_per_image_group = ceil_div(g.out_height, rows_per_tile);
    } else {
      rows_per_tile = 1;
      pixels_per_tile_row = ceil_div(g.out_width, ceil_div(g.out_width, target));
      tiles_per_image_group = g.out_height * ceil_div(g.out_width, pixels_per_tile_row);
    }
    // Each quota ends with a short tile rather than that one slot has a tile more than the others.
    images_per_quota = std::max<int64_t>(ceil_div(g.images, slots), 1);
    interleaves = tiles_per_image_group == 1 && !few_channels && !g.depthwise() && sizes.interleaved_images > 1 &&
                  g.out_pixels() <= kInterleavedPixels && images_per_quota >= sizes.interleaved_images;
    // As many in each tile, for the products of few images are slower.
    if (interleaves) images_per_tile = ceil_div(images_per_quota, ceil_div(images_per_quota, sizes.interleaved_images));
    tiles_per_quota = ceil_div(images_per_quota, images_per_tile);
    tile_count = g.images * tiles_per_image_group;
    if (tiles_per_image_group == 1) {
      tile_count = g.images / images_per_quota * tiles_per_quota +
                   ceil_div(g.images % images_per_quota, images_per_tile);
    }
  }
};

}  // namespace acu
