// The tile in backward. Per tile and block: the gradient of the columns (grad_output times the weight), the walk back
// (which turns it into columns), and the gradient of the weight (columns times grad_output).

#pragma once

#include "tile.h"

namespace acu::ACU_INSTRUCTION_SET {

// The gradient of the images of the current tile in channels_last, and where it goes when the image is complete.
template <class T>
class ImageGradients {
 public:
  ImageGradients(const BackwardProblem<T>& problem, int64_t begin, int64_t end, PartialImage<T>& partial)
      : problem_(problem), plan_(problem.plan), begin_(begin), end_(end), partial_(partial) {
    if (problem.grad_input == nullptr) return;
    const Geometry& g = plan_.geometry;
    row_size_ = g.width * plan_.padded_channels;
    copies_ = plan_.copies_images(problem.channels_last);
    if (copies_) copy_ = Buffer<T>(plan_.images_per_tile * g.height * row_size_);
    if (plan_.tiles_per_image_group > 1 && begin % plan_.tiles_per_image_group != 0) {
      partial_.image = begin / plan_.tiles_per_image_group;
      const RowRange out = rows_of_image(plan_, partial_.image, begin, end);
      const RowRange rows = touched_rows(g, problem.synapses, out.begin, out.end);
      partial_.row_begin = rows.begin;
      partial_.row_end = rows.end;
      partial_.rows = Buffer<T>((rows.end - rows.begin) * row_size_);
      std::fill_n(partial_.rows.data(), (rows.end - rows.begin) * row_size_, T(0));
    }
  }

  bool needed() const { return problem_.grad_input != nullptr; }

  void prepare(const Tile& tile) {
    if (!needed() || tile.image == prepared_) return;
    prepared_ = tile.image;
    const int64_t size = plan_.geometry.height * row_size_;
    if (tile.image == partial_.image) {
      base_ = partial_.rows.data();
      first_row_ = partial_.row_begin;
    } else {
      base_ = copies_ ? copy_.data() : problem_.grad_input + tile.image * size;
      first_row_ = 0;
      std::fill_n(base_, tile.images * size, T(0));
    }
  }

  // Called after a tile: the last one of an image sends a copy home.
  void finish(const Tile& tile, int64_t index) {
    if (!needed() || !copies_ || tile.image == partial_.image) return;
    const bool image_goes_on = (index + 1) % plan_.tiles_per_image_group != 0 && index + 1 < end_;
    if (image_goes_on) return;
    const Geometry& g = plan_.geometry;
    const int64_t pixels = g.height * g.width, step = plan_.padded_channels;
    for (int64_t n = 0; n < tile.images; ++n) {
      const T* from = copy_.data() + n * pixels * step;
      T* to = problem_.grad_input + (tile.image + n) * pixels * g.channels;
      if (problem_.channels_last) {
        for (int64_t p = 0; p < pixels; ++p) std::copy_n(from + p * step, g.channels, to + p * g.channels);
      } else {
        transpose(pixels, g.channels, from, step, to, pixels);
      }
    }
  }

  T* row(int64_t image_in_tile, int64_t y) const {
    return base_ + (image_in_tile * plan_.geometry.height + y - first_row_) * row_size_;
  }

 private:
  const BackwardProblem<T>& problem_;
  const Plan& plan_;
  const int64_t begin_, end_;
  PartialImage<T>& partial_;
  Buffer<T> copy_;
  T* base_ = nullptr;
  bool copies_ = false;
  int64_t row_size_ = 0, first_row_ = 0, prepared_ = -1;
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

// Calls f(output row of the tile, image of the tile, image row above the synapse, synapse of the block) in the order in
// which the image rows in use change least.
template <class T, class F>
ACU_INLINE void over_rows(const Geometry& g, const Tile& tile, const Synapse<T>* synapses, const Block& block, const F& f) {
  int64_t row = 0;
  for (int64_t n = 0; n < tile.images; ++n) {
    for (int64_t i = tile.row; i < tile.row + tile.rows; ++i, ++row) {
      for (int64_t k = block.synapse_begin; k < block.synapse_end; ++k) {
        f(row, n, i * g.stride.h - g.padding.top + synapses[k].row, k - block.synapse_begin);
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
    over_rows(g, tile, synapses, block, [&](int64_t row, int64_t n, int64_t y, int64_t k) {
      T* at = columns_of(chunk, plan, block, c, k, columns) + row * tile.width * kPanel<T>;
      const bool has_upper = y >= 0 && y < g.height, has_lower = y + 1 >= 0 && y + 1 < g.height;
      if (!has_upper && !has_lower) {
        clear_columns<T, typename decltype(chunk)::S, decltype(chunk)::kVectors>(at, 0, tile.width);
        return;
      }
      const int64_t channel = block.channel_begin + c;
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

template <class T>
void backward(const BackwardProblem<T>& problem, int64_t slot, int64_t slots, SlotSums<T>& sums) {
  const Plan& plan = problem.plan;
  const Geometry& g = plan.geometry;
  sums.positions.assign(2 * g.position_groups * g.synapses, 0.0);
  sums.bias.assign(problem.need_bias ? g.outputs : 0, 0.0);
  if (problem.need_weight) {
    const int64_t size = g.depthwise() ? g.channels * g.synapses : plan.transposed_size;
    sums.weight = Buffer<T>(size);
    std::fill_n(sums.weight.data(), size, T(0));
  }
  const int64_t begin = plan.first_tile(slot, slots), end = plan.first_tile(slot + 1, slots);
  if (begin == end) return;
  if (g.depthwise()) return backward_depthwise(problem, slot, slots, sums);
  const bool need_columns = problem.need_weight || problem.need_positions || problem.grad_input != nullptr;
  Images<T> images(plan, problem.synapses, problem.input, problem.channels_last);
  ImageGradients<T> gradients(problem, begin, end, sums.partial);
  WalkScratch<T> scratch(plan);
  Buffer<T> columns(plan.buffer_size());
  Buffer<T> gradient_copy(problem.channels_last ? 0 : plan.largest_tile() * g.outputs);
  std::vector<T> bias_row(g.outputs);

  for (int64_t index = begin; index < end; ++index) {
    const Tile tile = plan.tile(index);
    const int64_t pixels = tile.pixels(), per_image = tile.rows * tile.width;
    const int64_t in_image = tile.row * g.out_width + tile.column;
    const T* gradient = problem.grad_output + (tile.image * g.out_pixels() + in_image) * g.outputs;
    if (!problem.channels_last) {
      for (int64_t n = 0; n < tile.images; ++n) {
        transpose(g.outputs, per_image, problem.grad_output + (tile.image + n) * g.outputs * g.out_pixels() + in_image,
                  g.out_pixels(), gradient_copy.data() + n * per_image * g.outputs, g.outputs);
      }
      gradient = gradient_copy.data();
    }
    if (problem.need_bias) add_bias_gradient(pixels, g.outputs, gradient, bias_row, sums.bias.data());
    if (!need_columns) continue;
    images.prepare(tile, begin, end);
    gradients.prepare(tile);
    for (const SegmentPlan& part : plan.segments) {
      const T* part_gradient = gradient + part.segment.out_begin;
      const int64_t group = part.segment.position_group * g.synapses;
      for (const Block& block : part.blocks) {
        const T* weight = problem.transposed_weight + block.transposed_offset;
        scratch.start(plan, tile, problem.synapses + group, block);
        multiply_gradient(pixels, block.columns(), part.outputs(), scratch.sight(), part_gradient, g.outputs, weight,
                          columns.data(), plan.panel_step());
        walk_back_over_columns(plan, tile, images, gradients, problem.synapses + group, block, scratch, columns.data(),
                               sums.positions.data() + 2 * group);
        if (!problem.need_weight) continue;
        T* grad_weight = sums.weight.data() + block.transposed_offset;
        multiply_transposed(block.columns(), part.outputs(), scratch.sight(), part_gradient, g.outputs, columns.data(),
                            plan.panel_step(), grad_weight);
      }
    }
    gradients.finish(tile, index);
  }
}

}  // namespace acu::ACU_INSTRUCTION_SET
