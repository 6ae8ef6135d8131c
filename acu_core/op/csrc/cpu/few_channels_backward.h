// Few channels in backward: the gradient of the strips, the walk back over them, and the gradient of the weight.

#pragma once

#include "few_channels.h"
#include "tile_backward.h"

namespace acu::ACU_INSTRUCTION_SET {

// Gradient of the strips = gradient * weight^T, for one row of the tile. weight: [vector of columns][output][lane]; `part`
// holds the columns of the pixels that go together.
template <class T, int C>
void multiply_strip_gradient(const Plan& plan, int64_t pixels, int64_t outputs, const T* gradient, const T* weight,
                             const Strips<T>& strips, int64_t row, T* part) {
  using S = Wide<T>;
  const Geometry& g = plan.geometry;
  const int64_t columns = round_up(g.synapses * C, S::kLanes), part_step = columns + 4;
  over_strip_pixels<kStripPixels / 2>(pixels, [&](auto together, int64_t first) {
    constexpr int kTogether = together;
    const T* from = gradient + first * g.outputs;
    const auto multiply = [&](auto of_vectors, int64_t column) {
      constexpr int kVectors = of_vectors;
      typename S::Vector sum[kTogether][kVectors]{};
      const T* b = weight + column * outputs;
      for (int64_t o = 0; o < outputs; ++o, b += S::kLanes) {
        typename S::Vector factors[kVectors];
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) factors[v] = load<S>(b + v * outputs * S::kLanes);
#pragma GCC unroll 16
        for (int r = 0; r < kTogether; ++r) {
#pragma GCC unroll 2
          for (int v = 0; v < kVectors; ++v) sum[r][v] += from[r * g.outputs + o] * factors[v];
        }
      }
#pragma GCC unroll 16
      for (int r = 0; r < kTogether; ++r) {
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) store<S>(part + r * part_step + column + v * S::kLanes, sum[r][v]);
      }
    };
    int64_t column = 0;
    for (; column + 2 * S::kLanes <= columns; column += 2 * S::kLanes) multiply(std::integral_constant<int, 2>{}, column);
    if (column < columns) multiply(std::integral_constant<int, 1>{}, column);
    for (int64_t k = 0; k < g.synapses; ++k) {
      T* to = strips.row(k, row) + first * C;
      const T* of_synapse = part + k * C;
      for (int r = 0; r < kTogether; ++r) {
        if constexpr (C == 3 && S::kLanes >= 4) {
          // The fourth is the next pixel's first, which comes after; behind the last pixel there is room.
          store<Four<T>>(to + r * C, load<Four<T>>(of_synapse + r * part_step));
        } else {
          for (int c = 0; c < C; ++c) to[r * C + c] = of_synapse[r * part_step + c];
        }
      }
    }
  });
}

// What the walk back needs beside tensors. Masks have all ones where a product counts for the position: in a strip at the
// pixels that see anything, and along an image row at the columns inside. Elsewhere one factor is 0, and inf * 0 would be NaN.
template <class T>
class StripScratch {
 public:
  using S = Wide<T>;
  using Number = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;

  StripScratch(const Plan& plan, const Strips<T>& strips)
      : size_(strips.size(plan.pixels_per_tile_row)), synapses_(plan.geometry.synapses), zeros_(plan.row_size()),
        nowhere_(plan.row_size()), sums_(2 * synapses_ * S::kLanes), masks_(2 * synapses_ * size_) {
    std::fill_n(zeros_.data(), plan.row_size(), T(0));
    std::fill_n(nowhere_.data(), plan.row_size(), T(0));
  }

  void start(const Plan& plan, const Tile& tile, const Synapse<T>* synapses) {
    std::fill_n(sums_.data(), 2 * synapses_ * S::kLanes, T(0));
    if (synapses == synapses_of_ && tile.column == column_ && tile.width == width_) return;
    synapses_of_ = synapses, column_ = tile.column, width_ = tile.width;
    walks_.clear();
    const int64_t channels = plan.geometry.channels;
    for (int64_t k = 0; k < synapses_; ++k) {
      walks_.push_back(make_walk(plan, tile, synapses[k]));
      const Walk<T>& walk = walks_.back();
      const int64_t seen_begin = std::min(walk.left.begin, walk.right.begin) * channels;
      const int64_t seen_end = std::max(walk.left.end, walk.right.end) * channels;
      for (int64_t i = 0; i < size_; ++i) {
        const int64_t x = walk.first + i / channels;
        seen(k)[i] = i >= seen_begin && i < seen_end ? ~Number{0} : Number{0};
        inside(k)[i] = x >= 0 && x < walk.width && i / channels <= tile.width ? ~Number{0} : Number{0};
      }
    }
  }

  const Walk<T>& walk(int64_t k) const { return walks_[k]; }
  const T* zeros(const Plan& plan) const { return zeros_.data() + plan.row_margin; }
  T* nowhere(const Plan& plan) const { return nowhere_.data() + plan.row_margin; }
  T* sum_y(int64_t k) const { return sums_.data() + 2 * k * S::kLanes; }
  T* sum_x(int64_t k) const { return sum_y(k) + S::kLanes; }
  Number* seen(int64_t k) const { return masks_.data() + 2 * k * size_; }
  Number* inside(int64_t k) const { return seen(k) + size_; }

  static double total(const T* sums) {
    double sum = 0;
    for (int64_t i = 0; i < S::kLanes; ++i) sum += sums[i];
    return sum;
  }

 private:
  int64_t size_, synapses_;
  std::vector<Walk<T>> walks_;
  Buffer<T> zeros_, nowhere_, sums_;
  Buffer<Number> masks_;
  const Synapse<T>* synapses_of_ = nullptr;
  int64_t column_ = -1, width_ = -1;
};

// As slide_back (columns.h), for all channels and a vector of pixels at once. From right to left: a strip gives way to its
// columns, and what it gives to a column of the image comes from the pixel before too.
template <class T, bool NEED_INPUT>
void walk_strip_back(const Walk<T>& walk, const WalkBack<T>& rows, const StripScratch<T>& scratch, int64_t k, int64_t size,
                     T* strip) {
  using S = Wide<T>;
  using V = typename S::Vector;
  using Bits = typename S::Bits;
  const int64_t step = walk.pixel_step, first = walk.first * step;
  const T upper_share = walk.upper_share, lower_share = walk.lower_share;
  const T left_share = walk.left_share, right_share = walk.right_share;
  const T *upper = rows.upper + first, *lower = rows.lower + first;
  const auto *seen = scratch.seen(k), *inside = scratch.inside(k);
  V sum_y{}, sum_x{};
  for (int64_t i = size - S::kLanes; i >= 0; i -= S::kLanes) {
    const V d = load<S>(strip + i), before = load<S>(strip + i - step);
    const V upper_here = load<S>(upper + i), down = load<S>(lower + i) - upper_here;
    const V upper_next = load<S>(upper + i + step), down_next = load<S>(lower + i + step) - upper_next;
    const V here = upper_here + lower_share * down;
    const V across = upper_next + lower_share * down_next - here;
    store<S>(strip + i, here + right_share * across);
    const Bits is_seen = *reinterpret_cast<const typename S::Mask*>(seen + i);
    const Bits is_inside = *reinterpret_cast<const typename S::Mask*>(inside + i);
    const V e = left_share * d + right_share * before;
    sum_x += __builtin_bit_cast(V, __builtin_bit_cast(Bits, d * across) & is_seen);
    sum_y += __builtin_bit_cast(V, __builtin_bit_cast(Bits, e * down) & is_inside);
    if constexpr (NEED_INPUT) {
      T *to_upper = rows.upper_gradient + first + i, *to_lower = rows.lower_gradient + first + i;
      store<S>(to_upper, load<S>(to_upper) + upper_share * e);
      store<S>(to_lower, load<S>(to_lower) + lower_share * e);
    }
  }
  add_to<S>(rows.sum_y, sum_y);
  add_to<S>(rows.sum_x, sum_x);
}

template <class T>
void walk_back_over_strips(const Plan& plan, const Tile& tile, const Images<T>& images, const ImageGradients<T>& gradients,
                           const Synapse<T>* synapses, const StripScratch<T>& scratch, const Strips<T>& strips,
                           double* position_sums) {
  const Geometry& g = plan.geometry;
  const int64_t size = strips.size(tile.width);
  over_strips(g, tile, synapses, [&](int64_t row, int64_t n, int64_t y, int64_t k) {
    const Walk<T>& walk = scratch.walk(k);
    T* strip = strips.row(k, row);
    const bool has_upper = y >= 0 && y < g.height, has_lower = y + 1 >= 0 && y + 1 < g.height;
    if (sees_nothing(walk) || (!has_upper && !has_lower)) {
      std::fill_n(strip, size, T(0));
      return;
    }
    // Behind the last pixel there is what another strip has left.
    std::fill(strip + tile.width * g.channels, strip + size, T(0));
    WalkBack<T> rows{scratch.zeros(plan), scratch.zeros(plan), nullptr, nullptr, scratch.sum_y(k), scratch.sum_x(k)};
    if (has_upper) rows.upper = images.row(n, y);
    if (has_lower) rows.lower = images.row(n, y + 1);
    if (gradients.needed()) {
      rows.upper_gradient = has_upper ? gradients.row(n, y) : scratch.nowhere(plan);
      rows.lower_gradient = has_lower ? gradients.row(n, y + 1) : scratch.nowhere(plan);
      walk_strip_back<T, true>(walk, rows, scratch, k, size, strip);
    } else {
      walk_strip_back<T, false>(walk, rows, scratch, k, size, strip);
    }
  });
  for (int64_t k = 0; k < g.synapses; ++k) {
    position_sums[2 * k] += scratch.total(scratch.sum_y(k));
    position_sums[2 * k + 1] += scratch.total(scratch.sum_x(k));
  }
}

// Gradient of the weight of SYNAPSES synapses and a vector of outputs += strips^T * gradient. grad_weight: in the order of the
// packed weight, from the first of these synapses on.
template <class T, int C, int SYNAPSES>
void gather_strips(const Tile& tile, const Strips<T>& strips, int64_t first_synapse, const T* gradient, int64_t gradient_step,
                   T* grad_weight) {
  using S = Wide<T>;
  typename S::Vector sum[SYNAPSES * C];
#pragma GCC unroll 32
  for (int i = 0; i < SYNAPSES * C; ++i) sum[i] = load<S>(grad_weight + i * S::kLanes);
  for (int64_t row = 0; row < tile.images * tile.rows; ++row) {
    const T* strip[SYNAPSES];
#pragma GCC unroll 16
    for (int k = 0; k < SYNAPSES; ++k) strip[k] = strips.row(first_synapse + k, row);
#pragma GCC unroll 4
    for (int64_t x = 0; x < tile.width; ++x, gradient += gradient_step) {
      const typename S::Vector factors = load<S>(gradient);
#pragma GCC unroll 16
      for (int k = 0; k < SYNAPSES; ++k) {
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) sum[k * C + c] += strip[k][x * C + c] * factors;
      }
    }
  }
#pragma GCC unroll 32
  for (int i = 0; i < SYNAPSES * C; ++i) store<S>(grad_weight + i * S::kLanes, sum[i]);
}

template <class T, int C, int SYNAPSES>
ACU_INLINE void gather_last_strips(int64_t synapses, const Tile& tile, const Strips<T>& strips, int64_t first_synapse,
                                   const T* gradient, int64_t gradient_step, T* grad_weight) {
  if constexpr (SYNAPSES > 0) {
    if (synapses == SYNAPSES) {
      gather_strips<T, C, SYNAPSES>(tile, strips, first_synapse, gradient, gradient_step, grad_weight);
    } else {
      gather_last_strips<T, C, SYNAPSES - 1>(synapses, tile, strips, first_synapse, gradient, gradient_step, grad_weight);
    }
  }
}

template <class T, int C>
void gather_all_strips(const Plan& plan, const Tile& tile, const Strips<T>& strips, int64_t outputs, const T* gradient,
                       int64_t gradient_step, T* grad_weight) {
  constexpr int64_t kLanes = Wide<T>::kLanes;
  constexpr int kSynapses = std::min(9, kStripSums / C);
  for (int64_t o = 0; o < outputs; o += kLanes) {
    int64_t k = 0;
    for (; k + kSynapses <= plan.geometry.synapses; k += kSynapses, grad_weight += kSynapses * C * kLanes) {
      gather_strips<T, C, kSynapses>(tile, strips, k, gradient + o, gradient_step, grad_weight);
    }
    const int64_t left = plan.geometry.synapses - k;
    gather_last_strips<T, C, kSynapses - 1>(left, tile, strips, k, gradient + o, gradient_step, grad_weight);
    grad_weight += left * C * kLanes;
  }
}

template <class T>
void backward_few_channels(const BackwardProblem<T>& problem, int64_t begin, int64_t end, SlotSums<T>& sums) {
  const Plan& plan = problem.plan;
  const Geometry& g = plan.geometry;
  constexpr int64_t kLanes = Wide<T>::kLanes;
  Images<T> images(plan, problem.synapses, problem.input, problem.layout);
  ImageGradients<T> gradients(problem, begin, end, sums.shared);
  Strips<T> strips(plan);
  StripScratch<T> scratch(plan, strips);
  GradientTile<T> gradient_tile(problem);
  Buffer<T> part(kStripPixels / 2 * (round_up(g.synapses * g.channels, kLanes) + 4));
  Buffer<T> whole_vectors(plan.largest_tile() * round_up(g.outputs, kLanes));

  for (int64_t index = begin; index < end; ++index) {
    const Tile tile = plan.tile(index);
    const int64_t pixels = tile.pixels();
    const T* gradient = gradient_tile.fetch(tile, sums.bias);
    if (!needs_columns(problem)) continue;
    images.prepare(tile);
    gradients.prepare(tile, index);
    for (const SegmentPlan& of_plan : plan.segments) {
      const Block& block = of_plan.blocks[0];
      const int64_t outputs = of_plan.outputs(), group = of_plan.segment.position_group * g.synapses;
      const T* part_gradient = gradient + of_plan.segment.out_begin;
      scratch.start(plan, tile, problem.synapses + group);
      with_channels(g.channels, [&](auto channels) {
        for (int64_t row = 0; row < tile.images * tile.rows; ++row) {
          multiply_strip_gradient<T, channels>(plan, tile.width, outputs, part_gradient + row * tile.width * g.outputs,
                                               problem.transposed_weight + block.transposed_offset, strips, row, part.data());
        }
      });
      walk_back_over_strips(plan, tile, images, gradients, problem.synapses + group, scratch, strips,
                            sums.positions.data() + 2 * group);
      if (!problem.need_weight) continue;
      int64_t step = g.outputs;
      if (outputs % kLanes != 0) {
        // A vector is read as a whole, also where the tensor ends.
        step = round_up(outputs, kLanes);
        for (int64_t p = 0; p < pixels; ++p) {
          T* to = whole_vectors.data() + p * step;
          std::fill(std::copy_n(part_gradient + p * g.outputs, outputs, to), to + step, T(0));
        }
        part_gradient = whole_vectors.data();
      }
      with_channels(g.channels, [&](auto channels) {
        gather_all_strips<T, channels>(plan, tile, strips, outputs, part_gradient, step,
                                       sums.weight.data() + block.weight_offset);
      });
    }
    gradients.finish(tile, index);
  }
}

}  // namespace acu::ACU_INSTRUCTION_SET
