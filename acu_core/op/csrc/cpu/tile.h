// The tile: about a hundred output pixels whose columns, products and gradients stay in the cache. Forward builds the
// columns of a block and multiplies; backward multiplies, walks back over the columns, and multiplies again. Nothing
// but the inputs is kept from forward to backward.

#pragma once

#include <algorithm>
#include <cstring>

#include "depthwise_tile.h"
#include "micro_kernel.h"
#include "problem.h"
#include "transpose.h"

namespace acu::ACU_INSTRUCTION_SET {

struct RowRange {
  int64_t begin, end;
};

// Image rows that output rows [begin, end) can touch at these synapses.
template <class T>
RowRange touched_rows(const Geometry& g, const Synapse<T>* synapses, int64_t begin, int64_t end) {
  RowRange rows{g.height, 0};
  for (int64_t t = 0; t < g.position_groups * g.synapses; ++t) {
    const int64_t first = begin * g.stride.h - g.padding.top + synapses[t].row;
    const int64_t last = (end - 1) * g.stride.h - g.padding.top + synapses[t].row + 1;
    if (last < 0 || first >= g.height) continue;
    rows.begin = std::min(rows.begin, std::max<int64_t>(first, 0));
    rows.end = std::max(rows.end, std::min(last + 1, g.height));
  }
  return rows.begin < rows.end ? rows : RowRange{0, 0};
}

// The output rows of `image` that belong to the tiles [begin, end), when a tile is a part of one image.
inline RowRange rows_of_image(const Plan& plan, int64_t image, int64_t begin, int64_t end) {
  const int64_t first = std::max(begin, image * plan.tiles_per_image_group);
  const int64_t last = std::min(end, (image + 1) * plan.tiles_per_image_group) - 1;
  const Tile a = plan.tile(first), b = plan.tile(last);
  return {a.row, b.row + b.rows};
}

// `count` pixels of a plain tensor, from `pixel` of an image on, to channels_last with padded channels.
template <class T>
void copy_in(const Plan& plan, bool channels_last, const T* image, int64_t pixel, int64_t count, T* to) {
  const Geometry& g = plan.geometry;
  const int64_t step = plan.padded_channels;
  if (!channels_last) {
    transpose(g.channels, count, image + pixel, g.height * g.width, to, step);
  } else {
    for (int64_t p = 0; p < count; ++p) std::copy_n(image + (pixel + p) * g.channels, g.channels, to + p * step);
  }
  for (int64_t c = g.channels; c < step; ++c) {
    for (int64_t p = 0; p < count; ++p) to[p * step + c] = T(0);
  }
}

// The images of the current tile in channels_last: the tensor itself, or a copy of the rows in use.
template <class T>
class Images {
 public:
  Images(const Plan& plan, const Synapse<T>* synapses, const T* input, bool channels_last)
      : plan_(plan), synapses_(synapses), input_(input), channels_last_(channels_last),
        copies_(plan.copies_images(channels_last)) {
    if (copies_) copy_ = Buffer<T>(plan.images_per_tile * image_size());
  }

  // Makes the images of `tile` ready; [begin, end) are the tiles of the slot or portion.
  void prepare(const Tile& tile, int64_t begin, int64_t end) {
    if (!copies_) base_ = input_ + tile.image * image_size();
    if (!copies_ || tile.image == prepared_) return;
    const Geometry& g = plan_.geometry;
    prepared_ = tile.image;
    base_ = copy_.data();
    RowRange out{0, g.out_height};
    if (plan_.tiles_per_image_group > 1) out = rows_of_image(plan_, tile.image, begin, end);
    const RowRange rows = touched_rows(g, synapses_, out.begin, out.end);
    for (int64_t n = 0; n < tile.images; ++n) {
      copy_in(plan_, channels_last_, input_ + (tile.image + n) * g.channels * g.height * g.width,
              rows.begin * g.width, (rows.end - rows.begin) * g.width,
              copy_.data() + n * image_size() + rows.begin * g.width * plan_.padded_channels);
    }
  }

  const T* row(int64_t image_in_tile, int64_t y) const {
    return base_ + image_in_tile * image_size() + y * plan_.geometry.width * plan_.padded_channels;
  }

 private:
  int64_t image_size() const { return plan_.geometry.height * plan_.geometry.width * plan_.padded_channels; }

  const Plan& plan_;
  const Synapse<T>* synapses_;
  const T* input_;
  const bool channels_last_, copies_;
  Buffer<T> copy_;
  const T* base_ = nullptr;
  int64_t prepared_ = -1;
};

template <class T>
Walk<T> make_walk(const Plan& plan, const Tile& tile, const Synapse<T>& synapse) {
  const Geometry& g = plan.geometry;
  Walk<T> walk{T(1) - synapse.fraction_y, synapse.fraction_y, T(1) - synapse.fraction_x, synapse.fraction_x,
               tile.column * g.stride.w - g.padding.left + synapse.column, g.stride.w, tile.width,
               g.width, plan.padded_channels, {}, {}};
  walk.find_spans();
  return walk;
}

// How many output rows from the one that looks at image rows y and y + 1 on have the same of the two inside the image.
inline int64_t rows_alike(const Geometry& g, int64_t y) {
  if (y >= g.height) return g.out_height;
  if (y == g.height - 1 || y == -1) return 1;
  return y < -1 ? ceil_div(-1 - y, g.stride.h) : ceil_div(g.height - 1 - y, g.stride.h);
}

// Which pixels of the tile see something of the image: a corner with a share in forward, any corner in backward, where the
// derivative counts those without one too. `synapses` are the block's.
template <class T>
void look_around(const Plan& plan, const Tile& tile, const Synapse<T>* synapses, const Block& block,
                 const std::vector<Walk<T>>& walks, bool shares_count, Sight& sight) {
  const Geometry& g = plan.geometry;
  sight.start(block.synapses(), block.channels(), kPanel<T>, tile.pixels());
  for (int64_t k = 0; k < block.synapses(); ++k) {
    const Walk<T>& walk = walks[k];
    Span span = walk.left;
    if (!shares_count || walk.right_share != T(0)) {
      span = {std::min(span.begin, walk.right.begin), std::max(span.end, walk.right.end)};
    }
    const bool upper = !shares_count || walk.upper_share != T(0), lower = !shares_count || walk.lower_share != T(0);
    for (int64_t row = 0; row < tile.images * tile.rows; ++row) {
      const int64_t y = (tile.row + row % tile.rows) * g.stride.h - g.padding.top + synapses[k].row;
      if ((upper && y >= 0 && y < g.height) || (lower && y >= -1 && y + 1 < g.height)) {
        sight.see(k, row * tile.width + span.begin, row * tile.width + span.end);
      }
    }
  }
  sight.finish();
}

// The columns of a block for a tile.
template <class T>
void fill_columns(const Plan& plan, const Tile& tile, const Images<T>& images, const Synapse<T>* synapses,
                  const Block& block, std::vector<Walk<T>>& walks, Sight& sight, T* columns) {
  const Geometry& g = plan.geometry;
  walks.clear();
  for (int64_t k = block.synapse_begin; k < block.synapse_end; ++k) {
    walks.push_back(without_columns_of_no_share(make_walk(plan, tile, synapses[k])));
  }
  look_around(plan, tile, synapses + block.synapse_begin, block, walks, true, sight);
  const int64_t image_step = g.stride.h * g.width * plan.padded_channels;
  over_chunks<T>(block.channels(), [&](auto chunk, int64_t c) {
    const auto row_at = [&](int64_t n, int64_t y) {
      return y >= 0 && y < g.height ? images.row(n, y) + block.channel_begin + c : nullptr;
    };
    for (int64_t k = 0; k < block.synapses(); ++k) {
      const Walk<T>& walk = walks[k];
      T* to = columns_of(chunk, plan, block, c, k, columns);
      for (int64_t n = 0; n < tile.images; ++n) {
        for (int64_t i = 0; i < tile.rows;) {
          const int64_t y = (tile.row + i) * g.stride.h - g.padding.top + synapses[block.synapse_begin + k].row;
          const int64_t count = std::min(rows_alike(g, y), tile.rows - i);
          build_columns(chunk, walk, RowPair<T>(walk, row_at(n, y), row_at(n, y + 1)), count, image_step, to);
          i += count;
          to += count * tile.width * kPanel<T>;
        }
      }
    }
  });
}

template <class T>
void start_with_bias(const Plan& plan, const SegmentPlan& part, const T* bias, int64_t pixels, T* out) {
  const int64_t step = plan.geometry.outputs;
  for (int64_t p = 0; p < pixels; ++p) std::copy(bias + part.segment.out_begin, bias + part.segment.out_end, out + p * step);
}

// ---------------------------------------------------------------------------------------------------- forward

template <class T>
void forward(const ForwardProblem<T>& problem, int64_t portion, int64_t portions) {
  const Plan& plan = problem.plan;
  const Geometry& g = plan.geometry;
  const int64_t begin = plan.first_tile(portion, portions), end = plan.first_tile(portion + 1, portions);
  if (begin == end) return;
  if (g.depthwise()) return forward_depthwise(problem, portion, portions);
  Images<T> images(plan, problem.synapses, problem.input, problem.channels_last);
  Buffer<T> columns(plan.buffer_size());
  Buffer<T> out_copy(problem.channels_last ? 0 : plan.largest_tile() * g.outputs);
  std::vector<Walk<T>> walks;
  Sight sight;

  for (int64_t index = begin; index < end; ++index) {
    const Tile tile = plan.tile(index);
    const int64_t pixels = tile.pixels();
    images.prepare(tile, begin, end);
    const int64_t in_image = tile.row * g.out_width + tile.column;
    T* out = problem.channels_last ? problem.output + (tile.image * g.out_pixels() + in_image) * g.outputs
                                   : out_copy.data();
    for (const SegmentPlan& part : plan.segments) {
      T* part_out = out + part.segment.out_begin;
      if (problem.bias != nullptr) start_with_bias(plan, part, problem.bias, pixels, part_out);
      bool started = problem.bias != nullptr;
      for (const Block& block : part.blocks) {
        fill_columns(plan, tile, images, problem.synapses + part.segment.position_group * g.synapses, block,
                     walks, sight, columns.data());
        const T* weight = problem.packed_weight + block.weight_offset;
        if (started) {
          multiply_columns<T, Result::kAdd>(pixels, part.outputs(), block.columns(), sight, columns.data(),
                                            plan.panel_step(), weight, part_out, g.outputs);
        } else {
          multiply_columns<T, Result::kStore>(pixels, part.outputs(), block.columns(), sight, columns.data(),
                                              plan.panel_step(), weight, part_out, g.outputs);
        }
        started = true;
      }
    }
    if (!problem.channels_last) {
      const int64_t per_image = tile.rows * tile.width;
      for (int64_t n = 0; n < tile.images; ++n) {
        transpose(per_image, g.outputs, out + n * per_image * g.outputs, g.outputs,
                  problem.output + (tile.image + n) * g.outputs * g.out_pixels() + in_image, g.out_pixels());
      }
    }
  }
}

}  // namespace acu::ACU_INSTRUCTION_SET
