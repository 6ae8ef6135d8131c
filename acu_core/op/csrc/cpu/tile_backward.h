// The tile in backward. Per tile and block: the gradient of the columns (grad_output times the weight), the walk back
// (which turns it into columns), and the gradient of the weight (columns times grad_output).

#pragma once

#include "tile.h"

namespace acu::ACU_INSTRUCTION_SET {

// The gradient of the images of the current tile in channels_last, and where it goes. Rows that other slots add to as well
// stay with the slot's sums; the others are written here, each once, when no tile is left that touches it.
template <class T>
class ImageGradients {
 public:
  ImageGradients(const BackwardProblem<T>& problem, int64_t begin, int64_t end, std::vector<SharedRows<T>>& shared)
      : problem_(problem), plan_(problem.plan), end_(end), shared_(shared),
        row_size_(plan_.row_size()) {
    if (needed() && (copies() || is_cut(begin) || is_cut(end))) window_ = Window<T>(plan_, problem.synapses);
  }

  bool needed() const { return problem_.grad_input != nullptr; }

  void prepare(const Tile& tile, int64_t index) {
    if (!needed()) return;
    const Geometry& g = plan_.geometry;
    if (tile.image != prepared_) {
      prepared_ = tile.image;
      start_image(tile.image, index);
      window_.start_image();
      height_ = in_place_ ? g.height : window_.height();
      if (in_place_) {
        first_ = static_cast<T*>(problem_.grad_input) + tile.image * g.height * row_size_;
        std::fill_n(first_, tile.images * g.height * row_size_, T(0));
      }
    }
    if (in_place_) return;
    const RowRange rows = touched_rows(plan_, problem_.synapses, tile);
    send(tile, rows.begin);
    const RowRange fresh = window_.move_to(rows);
    for (int64_t n = 0; n < tile.images && fresh.begin < fresh.end; ++n) {
      std::fill_n(window_.row(n, fresh.begin) - plan_.row_margin, (fresh.end - fresh.begin) * row_size_, T(0));
    }
    first_ = window_.row(0, rows.begin) - rows.begin * row_size_;
  }

  // Called after a tile: with the slot's last one of an image, its rows are complete.
  void finish(const Tile& tile, int64_t index) {
    const bool image_goes_on = index + 1 < end_ && is_cut(index + 1);
    if (!needed() || in_place_ || image_goes_on) return;
    send(tile, std::max(own_.end, window_.rows().end));
  }

  T* row(int64_t image_in_tile, int64_t y) const { return first_ + (image_in_tile * height_ + y) * row_size_; }

 private:
  bool copies() const { return plan_.copies_images(problem_.layout); }

  // Whether an image lies on both sides of where a tile begins.
  bool is_cut(int64_t tile) const { return tile % plan_.tiles_per_image_group != 0; }

  // Which rows of the image are this slot's alone. Those beside them that it touches are shared. Rows that no tile touches
  // belong to the slot whose rows come before them.
  void start_image(int64_t image, int64_t index) {
    const int64_t per_image = plan_.tiles_per_image_group, height = plan_.geometry.height;
    const int64_t image_end = (index / per_image + 1) * per_image, last = std::min(end_, image_end) - 1;
    own_ = {0, height};
    sent_ = 0;
    const bool begins_within = is_cut(index), ends_within = last + 1 < image_end;
    in_place_ = !copies() && !begins_within && !ends_within;
    if (!begins_within && !ends_within) return;
    const RowRange touched{tile_rows(index).begin, tile_rows(last).end};
    if (begins_within) own_.begin = std::max(touched.begin, tile_rows(index - 1).end);
    if (ends_within) own_.end = std::max(own_.begin, tile_rows(last + 1).begin);
    if (begins_within) sent_ = touched.begin;
    share(image, {touched.begin, begins_within ? own_.begin : 0});
    share(image, {ends_within ? own_.end : touched.end, touched.end});
  }

  RowRange tile_rows(int64_t index) const { return touched_rows(plan_, problem_.synapses, plan_.tile(index)); }

  void share(int64_t image, RowRange rows) {
    if (rows.begin >= rows.end) return;
    shared_.push_back({image, rows.begin, rows.end, Buffer<T>((rows.end - rows.begin) * row_size_)});
  }

  // No tile to come touches the rows up to `end`. Those that the window has not held are zero.
  void send(const Tile& tile, int64_t end) {
    const RowRange held{window_.rows().begin, std::min(window_.rows().end, end)};
    if (held.begin < held.end) {
      write(tile, {std::max(held.begin, own_.begin), std::min(held.end, own_.end)});
      for (const SharedRows<T>& shared : shared_) {
        const int64_t first = std::max(held.begin, shared.begin), last = std::min(held.end, shared.end);
        if (shared.image != tile.image || first >= last) continue;
        const T* from = window_.row(0, first) - plan_.row_margin;
        std::copy_n(from, (last - first) * row_size_, shared.rows.data() + (first - shared.begin) * row_size_);
      }
    }
    clear(tile, {std::max({held.end, sent_, own_.begin}), std::min(end, own_.end)});
    sent_ = std::max(sent_, end);
  }

  void write(const Tile& tile, RowRange rows) {
    if (rows.begin >= rows.end) return;
    const Geometry& g = plan_.geometry;
    const bool channels_last = problem_.layout.channels_last;
    // Rows that have nothing between them go together.
    const int64_t step = plan_.padded_channels, together = row_size_ == g.width * step ? rows.end - rows.begin : 1;
    const int64_t pixels = together * g.width, all = g.height * g.width;
    with_elements<T>(problem_.layout.element, problem_.grad_input, [&](auto* grad_input) {
      for (int64_t n = 0; n < tile.images; ++n) {
        for (int64_t y = rows.begin; y < rows.end; y += together) {
          const T* from = window_.row(n, y);
          auto* to = grad_input + (tile.image + n) * g.channels * all + y * g.width * (channels_last ? g.channels : 1);
          if (!channels_last) {
            transpose(pixels, g.channels, from, step, to, all);
          } else if (step == g.channels) {
            copy_elements(from, pixels * step, to);
          } else {
            for (int64_t p = 0; p < pixels; ++p) copy_elements(from + p * step, g.channels, to + p * g.channels);
          }
        }
      }
    });
  }

  void clear(const Tile& tile, RowRange rows) {
    if (rows.begin >= rows.end) return;
    const Geometry& g = plan_.geometry;
    const int64_t all = g.height * g.width, pixels = (rows.end - rows.begin) * g.width;
    with_elements<T>(problem_.layout.element, problem_.grad_input, [&](auto* grad_input) {
      using E = std::remove_reference_t<decltype(*grad_input)>;
      const int64_t runs = problem_.layout.channels_last ? 1 : g.channels, run = pixels * (g.channels / runs);
      for (int64_t n = 0; n < tile.images; ++n) {
        E* to = grad_input + (tile.image + n) * g.channels * all + rows.begin * g.width * (g.channels / runs);
        for (int64_t i = 0; i < runs; ++i, to += all) std::fill_n(to, run, E{});
      }
    });
  }

  const BackwardProblem<T>& problem_;
  const Plan& plan_;
  const int64_t end_;  // of the slot's tiles
  std::vector<SharedRows<T>>& shared_;
  const int64_t row_size_;
  Window<T> window_;
  T* first_ = nullptr;  // where row 0 of the tile's first image is, or would be
  bool in_place_ = false;
  int64_t height_ = 0;  // rows from one image to the next
  int64_t prepared_ = -1, sent_ = 0;
  RowRange own_{0, 0};
};

// What a walk back over a block needs beside tensors: the walks, a row of zeros to read and a row that nobody reads to
// write, in place of rows outside the image; and the sums of the positions' gradients for y and x, one for each channel of
// a chunk.
template <class T>
class WalkScratch {
 public:
  explicit WalkScratch(const Plan& plan)
      : zeros_(row_size(plan)), nowhere_(row_size(plan)), sums_(2 * kPanel<T> * plan.geometry.synapses) {
    std::fill_n(zeros_.data(), row_size(plan), T(0));
    std::fill_n(nowhere_.data(), row_size(plan), T(0));
  }

  void start(const Plan& plan, const Tile& tile, const Synapse<T>* synapses, const Block& block) {
    walks_.clear();
    for (int64_t k = block.synapse_begin; k < block.synapse_end; ++k) {
      walks_.push_back(make_walk(plan, tile, synapses[k]));
    }
    look_around(plan, tile, synapses + block.synapse_begin, block, walks_, false, sight_);
  }

  const Sight& sight() const { return sight_; }

  const Walk<T>& walk(int64_t k) const { return walks_[k]; }
  const T* zeros() const { return zeros_.data(); }
  T* nowhere() const { return nowhere_.data(); }
  T* sum_y(int64_t k) const { return sums_.data() + 2 * k * kPanel<T>; }
  T* sum_x(int64_t k) const { return sum_y(k) + kPanel<T>; }

  void clear_sums() { std::fill_n(sums_.data(), 2 * kPanel<T> * static_cast<int64_t>(walks_.size()), T(0)); }

  static double total(const T* sums, int64_t channels) {
    double sum = 0;
    for (int64_t i = 0; i < channels; ++i) sum += sums[i];
    return sum;
  }

 private:
  static int64_t row_size(const Plan& plan) { return plan.geometry.width * plan.padded_channels; }

  std::vector<Walk<T>> walks_;
  Sight sight_;
  Buffer<T> zeros_, nowhere_, sums_;
};

// Calls f(image of the tile, output row of the tile, image row above the synapse, synapse of the block) in the order in
// which the image rows in use change least.
template <class T, class F>
ACU_INLINE void over_rows(const Geometry& g, const Tile& tile, const Synapse<T>* synapses, const Block& block, const F& f) {
  for (int64_t n = 0; n < tile.images; ++n) {
    for (int64_t i = 0; i < tile.rows; ++i) {
      for (int64_t k = block.synapse_begin; k < block.synapse_end; ++k) {
        f(n, i, (tile.row + i) * g.stride.h - g.padding.top + synapses[k].row, k - block.synapse_begin);
      }
    }
  }
}

template <class T>
void walk_back_over_columns(const Plan& plan, const Tile& tile, const Images<T>& images,
                            const ImageGradients<T>& gradients, const Synapse<T>* synapses, const Block& block,
                            WalkScratch<T>& scratch, T* columns, double* position_sums) {
  const Geometry& g = plan.geometry;
  over_chunks<T>(block.channels(), [&](auto chunk, int64_t c) {
    scratch.clear_sums();
    over_rows(g, tile, synapses, block, [&](int64_t n, int64_t i, int64_t y, int64_t k) {
      const int64_t first = n * tile.image_step() + i * tile.width * tile.pixel_step();
      T* at = columns_of(chunk, plan, block, c, k, columns) + first * kPanel<T>;
      const bool has_upper = y >= 0 && y < g.height, has_lower = y + 1 >= 0 && y + 1 < g.height;
      if (!has_upper && !has_lower) {
        const int64_t step = scratch.walk(k).buffer_step;
        clear_columns<T, typename decltype(chunk)::S, decltype(chunk)::kVectors>(at, step, 0, tile.width);
        return;
      }
      const int64_t channel = g.first_channel(block.synapse_begin + k) + block.channel_begin + c;
      WalkBack<T> rows{scratch.zeros(), scratch.zeros(), nullptr, nullptr, scratch.sum_y(k), scratch.sum_x(k)};
      if (has_upper) rows.upper = images.row(n, y) + channel;
      if (has_lower) rows.lower = images.row(n, y + 1) + channel;
      if (gradients.needed()) {
        rows.upper_gradient = has_upper ? gradients.row(n, y) + channel : scratch.nowhere();
        rows.lower_gradient = has_lower ? gradients.row(n, y + 1) + channel : scratch.nowhere();
      }
      walk_back(chunk, scratch.walk(k), rows, at);
    });
    // Without the padded channels: their columns' gradient is NaN when grad_output holds inf, for inf * 0 is.
    constexpr int64_t kWidth = decltype(chunk)::kVectors * decltype(chunk)::S::kLanes;
    const int64_t channels = std::min(kWidth, g.channels - block.channel_begin - c);
    for (int64_t k = 0; k < block.synapses(); ++k) {
      double* sums = position_sums + 2 * (block.synapse_begin + k);
      sums[0] += scratch.total(scratch.sum_y(k), channels);
      sums[1] += scratch.total(scratch.sum_x(k), channels);
    }
  });
}

template <class T>
void add_bias_gradient(int64_t pixels, int64_t outputs, const T* gradient, std::vector<T>& row, double* sums) {
  std::fill(row.begin(), row.end(), T(0));
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t o = 0; o < outputs; ++o) row[o] += gradient[p * outputs + o];
  }
  for (int64_t o = 0; o < outputs; ++o) sums[o] += row[o];
}

// The gradient of the current tile's output pixels in channels_last, and that of the bias.
template <class T>
class GradientTile {
 public:
  explicit GradientTile(const BackwardProblem<T>& problem)
      : problem_(problem), copies_(problem.plan.copies_outputs(problem.layout)),
        copy_(copies_ ? problem.plan.largest_tile() * problem.plan.geometry.outputs : 0),
        bias_row_(problem.plan.geometry.outputs) {}

  // Adds to the sums of the bias where these are needed.
  const T* fetch(const Tile& tile, std::vector<double>& bias_sums) {
    const Geometry& g = problem_.plan.geometry;
    const T* gradient = copy_.data();
    if (copies_) {
      fetch_gradient(g, tile, problem_.grad_output, problem_.layout, copy_.data());
    } else {
      gradient = static_cast<const T*>(problem_.grad_output) + first_pixel(g, tile) * g.outputs;
    }
    if (problem_.need_bias) add_bias_gradient(tile.pixels(), g.outputs, gradient, bias_row_, bias_sums.data());
    return gradient;
  }

 private:
  const BackwardProblem<T>& problem_;
  const bool copies_;
  Buffer<T> copy_;
  std::vector<T> bias_row_;
};

template <class T>
bool needs_columns(const BackwardProblem<T>& problem) {
  return problem.need_weight || problem.need_positions || problem.grad_input != nullptr;
}

// Returns whether the gradients stand: see Kernels.
template <class T>
bool backward_tiles(const BackwardProblem<T>& problem, int64_t begin, int64_t end, SlotSums<T>& sums) {
  const Plan& plan = problem.plan;
  const Geometry& g = plan.geometry;
  Images<T> images(plan, problem.synapses, problem.input, problem.layout);
  ImageGradients<T> gradients(problem, begin, end, sums.shared);
  GradientTile<T> gradient_tile(problem);
  WalkScratch<T> scratch(plan);
  Buffer<T> columns(plan.buffer_size());
  Products<T> products(problem);

  for (int64_t index = begin; index < end; ++index) {
    const Tile tile = plan.tile(index);
    const int64_t pixels = tile.pixels();
    const PixelRows rows = pixel_rows(tile, g.outputs);
    const T* gradient = gradient_tile.fetch(tile, sums.bias);
    if (!needs_columns(problem)) continue;
    images.prepare(tile);
    gradients.prepare(tile, index);
    for (const SegmentPlan& part : plan.segments) {
      const T* part_gradient = gradient + part.segment.out_begin;
      const int64_t group = part.segment.position_group * g.synapses;
      products.take_gradient(part, pixels, part_gradient, rows, problem.need_weight);
      for (const Block& block : part.blocks) {
        scratch.start(plan, tile, problem.synapses + group, block);
        products.gradient_to_columns(part, block, pixels, scratch.sight(), columns.data());
        walk_back_over_columns(plan, tile, images, gradients, problem.synapses + group, block, scratch, columns.data(),
                               sums.positions.data() + 2 * group);
        if (!problem.need_weight) continue;
        T* grad_weight = sums.weight.data() + block.transposed_offset;
        products.columns_to_weight(part, block, pixels, scratch.sight(), columns.data(), grad_weight);
      }
    }
    gradients.finish(tile, index);
  }
  return products.are_finite();
}

}  // namespace acu::ACU_INSTRUCTION_SET
