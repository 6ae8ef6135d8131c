// The tile: about a hundred output pixels whose columns, products and gradients stay in the cache. Forward builds the
// columns of a block and multiplies; backward multiplies, walks back over the columns, and multiplies again. Nothing
// but the inputs is kept from forward to backward.

#pragma once

#include <algorithm>
#include <cstring>

#include "problem.h"
#include "products.h"
#include "transpose.h"

namespace acu::ACU_INSTRUCTION_SET {

struct RowRange {
  int64_t begin, end;
};

// Image rows from the first to the last that output rows [begin, end) can touch at these synapses. From one tile of an image
// to the next neither end goes back.
template <class T>
RowRange touched_rows(const Geometry& g, const Synapse<T>* synapses, int64_t begin, int64_t end) {
  RowRange rows{g.height, 0};
  for (int64_t t = 0; t < g.position_groups * g.synapses; ++t) {
    const int64_t first = begin * g.stride.h - g.padding.top + synapses[t].row;
    const int64_t last = (end - 1) * g.stride.h - g.padding.top + synapses[t].row + 1;
    rows.begin = std::min(rows.begin, std::clamp<int64_t>(first, 0, g.height));
    rows.end = std::max(rows.end, std::clamp<int64_t>(last + 1, 0, g.height));
  }
  return rows;
}

// The same for a tile. Whole images, in whole.
template <class T>
RowRange touched_rows(const Plan& plan, const Synapse<T>* synapses, const Tile& tile) {
  if (plan.tiles_per_image_group == 1) return {0, plan.geometry.height};
  return touched_rows(plan.geometry, synapses, tile.row, tile.row + tile.rows);
}

// A copy of the image rows that the current tile touches, in channels_last and with padded channels; of whole images where
// the tile is. It moves on from tile to tile, so that little of an image is in the copy at once.
template <class T>
class Window {
 public:
  Window() = default;
  Window(const Plan& plan, const Synapse<T>* synapses)
      : height_(plan.geometry.height), row_size_(plan.row_size()), margin_(plan.row_margin) {
    if (plan.tiles_per_image_group > 1) {
      int64_t lowest = synapses[0].row, highest = synapses[0].row;
      for (int64_t t = 1; t < plan.geometry.position_groups * plan.geometry.synapses; ++t) {
        lowest = std::min(lowest, synapses[t].row);
        highest = std::max(highest, synapses[t].row);
      }
      height_ = std::min(height_, (plan.rows_per_tile - 1) * plan.geometry.stride.h + highest - lowest + 2);
    }
    const int64_t size = plan.images_per_tile * height_ * row_size_;
    rows_ = Buffer<T>(size);
    if (margin_ > 0) std::fill_n(rows_.data(), size, T(0));
  }

  RowRange rows() const { return in_use_; }
  int64_t height() const { return height_; }

  T* row(int64_t image_in_tile, int64_t y) const {
    return rows_.data() + (image_in_tile * height_ + y - in_use_.begin) * row_size_ + margin_;
  }

  void start_image() { in_use_ = {0, 0}; }

  // Makes the window [rows.begin, rows.end), keeps what it has of these, and returns which ones are new.
  RowRange move_to(RowRange rows) {
    const RowRange kept{rows.begin, std::max(rows.begin, in_use_.end)};
    if (kept.begin < kept.end && kept.begin > in_use_.begin) {
      std::copy(row(0, kept.begin) - margin_, row(0, kept.end) - margin_, rows_.data());  // towards the front
    }
    in_use_ = rows;
    return {kept.end, rows.end};
  }

 private:
  int64_t height_ = 0, row_size_ = 0, margin_ = 0;  // of each image
  RowRange in_use_{0, 0};
  Buffer<T> rows_;
};

// Rows of an image in any layout to channels_last with padded channels. `image` and `to`: the first pixel of the first.
template <class T, class E>
void copy_in(const Plan& plan, bool channels_last, const E* image, int64_t rows, T* to) {
  const Geometry& g = plan.geometry;
  const int64_t step = plan.padded_channels, row_size = g.width * step;
  if (plan.row_size() != row_size && rows > 1) {
    for (int64_t y = 0; y < rows; ++y, image += g.width * (channels_last ? g.channels : 1), to += plan.row_size()) {
      copy_in(plan, channels_last, image, 1, to);
    }
    return;
  }
  const int64_t count = rows * g.width;
  if (!channels_last) {
    transpose(g.channels, count, image, g.height * g.width, to, step);
  } else if (step == g.channels) {
    copy_elements(image, count * step, to);
  } else {
    for (int64_t p = 0; p < count; ++p) copy_elements(image + p * g.channels, g.channels, to + p * step);
  }
  for (int64_t c = g.channels; c < step; ++c) {
    for (int64_t p = 0; p < count; ++p) to[p * step + c] = T(0);
  }
}

// The images of the current tile in channels_last: the tensor itself, or a copy of the rows in use.
template <class T>
class Images {
 public:
  Images(const Plan& plan, const Synapse<T>* synapses, const void* input, Layout layout)
      : plan_(plan), synapses_(synapses), input_(input), layout_(layout), copies_(plan.copies_images(layout)),
        row_size_(plan.row_size()), height_(plan.geometry.height) {
    if (!copies_) return;
    window_ = Window<T>(plan, synapses);
    height_ = window_.height();
  }

  void prepare(const Tile& tile) {
    const Geometry& g = plan_.geometry;
    const int64_t image_size = g.height * g.width * g.channels;
    if (!copies_) {
      first_ = static_cast<const T*>(input_) + tile.image * image_size;
      return;
    }
    if (tile.image != prepared_) window_.start_image();
    prepared_ = tile.image;
    const RowRange rows = window_.move_to(touched_rows(plan_, synapses_, tile));
    const int64_t first = rows.begin * g.width * (layout_.channels_last ? g.channels : 1);
    with_elements<T>(layout_.element, input_, [&](const auto* input) {
      for (int64_t n = 0; n < tile.images && rows.begin < rows.end; ++n) {
        copy_in(plan_, layout_.channels_last, input + (tile.image + n) * image_size + first, rows.end - rows.begin,
                window_.row(n, rows.begin));
      }
    });
    first_ = window_.row(0, window_.rows().begin) - window_.rows().begin * row_size_;
  }

  const T* row(int64_t image_in_tile, int64_t y) const { return first_ + (image_in_tile * height_ + y) * row_size_; }

 private:
  const Plan& plan_;
  const Synapse<T>* synapses_;
  const void* input_;
  const Layout layout_;
  const bool copies_;
  const int64_t row_size_;
  int64_t height_;  // rows from one image to the next
  Window<T> window_;
  const T* first_ = nullptr;  // where row 0 of the tile's first image is, or would be
  int64_t prepared_ = -1;
};

template <class T>
Walk<T> make_walk(const Plan& plan, const Tile& tile, const Synapse<T>& synapse) {
  const Geometry& g = plan.geometry;
  T upper = T(1) - synapse.fraction_y, lower = synapse.fraction_y;
  T left = T(1) - synapse.fraction_x, right = synapse.fraction_x;
  if (g.mirrored()) std::swap(upper, lower), std::swap(left, right);
  Walk<T> walk{upper, lower, left, right,
               tile.column * g.stride.w - g.padding.left + synapse.column, g.stride.w, tile.width,
               g.width, plan.padded_channels, tile.pixel_step() * kPanel<T>, {}, {}, g.mirrored()};
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
  sight.start(block.synapses(), block.channels(), kPanel<T>, tile.pixels(), tile.interleaved ? tile.images : kRows);
  for (int64_t k = 0; k < block.synapses(); ++k) {
    const Walk<T>& walk = walks[k];
    Span span = walk.left;
    if (!shares_count || walk.right_share != T(0)) {
      span = {std::min(span.begin, walk.right.begin), std::max(span.end, walk.right.end)};
    }
    const bool upper = !shares_count || walk.upper_share != T(0), lower = !shares_count || walk.lower_share != T(0);
    // Rows of the tile that look at rows of the image from lower ? -1 : 0 on.
    const int64_t y = tile.row * g.stride.h - g.padding.top + synapses[k].row;
    const auto first_row = [&](int64_t at) { return std::clamp<int64_t>(ceil_div(at - y, g.stride.h), 0, tile.rows); };
    const int64_t begin = y >= (lower ? -1 : 0) ? 0 : first_row(lower ? -1 : 0);
    const int64_t last = upper ? g.height : g.height - 1, end = y >= last ? 0 : first_row(last);
    // Whole rows together. Where images are interleaved, all are alike.
    const bool whole = span.begin == 0 && span.end == tile.width;
    const int64_t step = tile.pixel_step(), width = tile.width, together = whole ? end - begin : 1;
    for (int64_t n = 0; n < (tile.interleaved ? 1 : tile.images); ++n) {
      for (int64_t row = n * tile.rows + begin; row < n * tile.rows + end; row += together) {
        sight.see(k, (row * width + span.begin) * step, ((row + together - 1) * width + span.end) * step);
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
    for (int64_t k = 0; k < block.synapses(); ++k) {
      const int64_t channel = g.first_channel(block.synapse_begin + k) + block.channel_begin + c;
      const auto row_at = [&](int64_t n, int64_t y) {
        return y >= 0 && y < g.height ? images.row(n, y) + channel : nullptr;
      };
      const Walk<T>& walk = walks[k];
      T* first = columns_of(chunk, plan, block, c, k, columns);
      for (int64_t n = 0; n < tile.images; ++n) {
        T* to = first + n * tile.image_step() * kPanel<T>;
        for (int64_t i = 0; i < tile.rows;) {
          const int64_t y = (tile.row + i) * g.stride.h - g.padding.top + synapses[block.synapse_begin + k].row;
          const int64_t count = std::min(rows_alike(g, y), tile.rows - i);
          build_columns(chunk, walk, RowPair<T>(walk, row_at(n, y), row_at(n, y + 1)), count, image_step, to);
          i += count;
          to += count * tile.width * walk.buffer_step;
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

// Output pixels of a tile as rows of a product, in the order of the column buffer; `step` elements from one to the next.
inline PixelRows pixel_rows(const Tile& tile, int64_t step) {
  if (tile.interleaved) return {tile.rows * tile.width * step, step};
  return {step, kRows * step};
}

// The tile's first output pixel, counted over all images.
inline int64_t first_pixel(const Geometry& g, const Tile& tile) {
  return tile.image * g.out_pixels() + tile.row * g.out_width + tile.column;
}

// The gradient of the tile's output pixels, in channels_last.
template <class T>
void fetch_gradient(const Geometry& g, const Tile& tile, const void* grad_output, Layout layout, T* to) {
  const int64_t per_image = tile.rows * tile.width, in_image = tile.row * g.out_width + tile.column;
  with_elements<T>(layout.element, grad_output, [&](const auto* from) {
    if (layout.channels_last) {
      copy_elements(from + first_pixel(g, tile) * g.outputs, tile.pixels() * g.outputs, to);
      return;
    }
    for (int64_t n = 0; n < tile.images; ++n) {
      transpose(g.outputs, per_image, from + (tile.image + n) * g.outputs * g.out_pixels() + in_image, g.out_pixels(),
                to + n * per_image * g.outputs, g.outputs);
    }
  });
}

template <class T>
void send_outputs(const Geometry& g, const Tile& tile, const T* from, void* output, Layout layout) {
  const int64_t per_image = tile.rows * tile.width, in_image = tile.row * g.out_width + tile.column;
  with_elements<T>(layout.element, output, [&](auto* to) {
    if (layout.channels_last) {
      copy_elements(from, tile.pixels() * g.outputs, to + first_pixel(g, tile) * g.outputs);
      return;
    }
    for (int64_t n = 0; n < tile.images; ++n) {
      transpose(per_image, g.outputs, from + n * per_image * g.outputs, g.outputs,
                to + (tile.image + n) * g.outputs * g.out_pixels() + in_image, g.out_pixels());
    }
  });
}

// ---------------------------------------------------------------------------------------------------- forward

// Returns whether the outputs stand: see Kernels.
template <class T>
bool forward_tiles(const ForwardProblem<T>& problem, int64_t begin, int64_t end) {
  const Plan& plan = problem.plan;
  const Geometry& g = plan.geometry;
  Images<T> images(plan, problem.synapses, problem.input, problem.layout);
  Buffer<T> columns(plan.buffer_size());
  const bool copies = plan.copies_outputs(problem.layout);
  Buffer<T> out_copy(copies ? plan.largest_tile() * g.outputs : 0);
  std::vector<Walk<T>> walks;
  Sight sight;
  Products<T> products(problem);

  for (int64_t index = begin; index < end; ++index) {
    const Tile tile = plan.tile(index);
    const int64_t pixels = tile.pixels();
    const PixelRows rows = pixel_rows(tile, g.outputs);
    images.prepare(tile);
    T* out = copies ? out_copy.data() : static_cast<T*>(problem.output) + first_pixel(g, tile) * g.outputs;
    for (const SegmentPlan& part : plan.segments) {
      T* part_out = out + part.segment.out_begin;
      if (problem.bias != nullptr) start_with_bias(plan, part, problem.bias, pixels, part_out);
      bool started = problem.bias != nullptr;
      for (const Block& block : part.blocks) {
        fill_columns(plan, tile, images, problem.synapses + part.segment.position_group * g.synapses, block,
                     walks, sight, columns.data());
        if (started) {
          products.template columns_to_outputs<Result::kAdd>(part, block, pixels, sight, columns.data(), part_out, rows);
        } else {
          products.template columns_to_outputs<Result::kStore>(part, block, pixels, sight, columns.data(), part_out, rows);
        }
        started = true;
      }
    }
    if (copies) send_outputs(g, tile, out, problem.output, problem.layout);
  }
  return products.are_finite();
}

}  // namespace acu::ACU_INSTRUCTION_SET
