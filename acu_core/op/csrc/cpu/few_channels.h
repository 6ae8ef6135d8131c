// Images of one or three channels, such as the first layer's, at stride 1. Channels do not fill a vector there, so vectors run
// along the row: in channels_last a row is one run of numbers, and its right neighbour is the same run a pixel further.
//
// What a synapse sees along a row of output pixels is a strip: width * C columns, one after the other. Image rows are copied
// with zeros on both sides, wide enough for every strip that sees anything, so that no strip asks where the image ends.

#pragma once

#include "tile.h"

namespace acu::ACU_INSTRUCTION_SET {

// Sums that the gradient of the weight holds in registers, with one vector beside them and one that is broadcast.
constexpr int kStripSums = ACU_VECTOR_BYTES == 64 || kRows == 12 ? 27 : 12;
// Output pixels that go together in the products.
constexpr int kStripPixels = ACU_VECTOR_BYTES == 64 || kRows == 12 ? 16 : 8;

// The strips of a tile: [synapse][row of the tile][zeros of a pixel, then the strip, then what fills the last vector].
template <class T>
class Strips {
 public:
  using S = Wide<T>;

  explicit Strips(const Plan& plan)
      : channels_(plan.geometry.channels), row_step_(kBefore + size(plan.pixels_per_tile_row)),
        synapse_step_(plan.images_per_tile * plan.rows_per_tile * row_step_) {
    const int64_t all = plan.geometry.synapses * synapse_step_;
    buffer_ = Buffer<T>(all);
    std::fill_n(buffer_.data(), all, T(0));
  }

  T* row(int64_t k, int64_t row) const { return buffer_.data() + k * synapse_step_ + row * row_step_ + kBefore; }
  int64_t synapse_step() const { return synapse_step_; }

  // Whole vectors that hold the columns of so many pixels and of one more: the gradient of a column of the image comes from
  // two pixels.
  int64_t size(int64_t pixels) const { return round_up((pixels + 1) * channels_, S::kLanes); }

 private:
  static constexpr int64_t kBefore = std::max<int64_t>(S::kLanes, 4);

  int64_t channels_, row_step_, synapse_step_;
  Buffer<T> buffer_;
};

template <class T>
bool sees_nothing(const Walk<T>& walk) {
  return walk.left.begin >= walk.left.end && walk.right.begin >= walk.right.end;
}

// Calls f(row of the tile, image of the tile, image row above the synapse, synapse).
template <class T, class F>
ACU_INLINE void over_strips(const Geometry& g, const Tile& tile, const Synapse<T>* synapses, const F& f) {
  for (int64_t row = 0; row < tile.images * tile.rows; ++row) {
    const int64_t y = (tile.row + row % tile.rows) * g.stride.h - g.padding.top;
    for (int64_t k = 0; k < g.synapses; ++k) f(row, row / tile.rows, y + synapses[k].row, k);
  }
}

// Calls f with the number of channels as a constant.
template <class F>
ACU_INLINE void with_channels(int64_t channels, const F& f) {
  channels == 1 ? f(std::integral_constant<int, 1>{}) : f(std::integral_constant<int, 3>{});
}

// Calls f(pixels, first) for all pixels of a row, PIXELS at a time, or 4 or 1 where there are fewer; `pixels` is a constant.
// The last go together with some before them, which then come out a second time, the same.
template <int PIXELS, class F>
ACU_INLINE void over_strip_pixels(int64_t width, const F& f) {
  const auto in_groups = [&](auto pixels) {
    for (int64_t x = 0; x + pixels <= width; x += pixels) f(pixels, x);
    if (width % pixels != 0) f(pixels, width - pixels);
  };
  if (width >= PIXELS) return in_groups(std::integral_constant<int, PIXELS>{});
  if (width >= 4) return in_groups(std::integral_constant<int, 4>{});
  in_groups(std::integral_constant<int, 1>{});
}

// ---------------------------------------------------------------------------------------------------- forward

template <class T, int ROWS, int COLUMNS>
void build_strip(const Walk<T>& walk, const RowPair<T>& rows, int64_t size, T* to) {
  using S = Wide<T>;
  const int64_t first = walk.first * walk.pixel_step, next = first + walk.pixel_step;
  const T upper_share = rows.upper_share, lower_share = rows.lower_share;
  const T left_share = walk.left_share, right_share = walk.right_share;
  const auto blend = [&](int64_t at) {
    typename S::Vector value = upper_share * load<S>(rows.upper + at);
    if constexpr (ROWS == 2) value += lower_share * load<S>(rows.lower + at);
    return value;
  };
  for (int64_t i = 0; i < size; i += S::kLanes) {
    typename S::Vector value = left_share * blend(first + i);
    if constexpr (COLUMNS == 2) value += right_share * blend(next + i);
    store<S>(to + i, value);
  }
}

template <class T>
void fill_strips(const Plan& plan, const Tile& tile, const Images<T>& images, const Synapse<T>* synapses,
                 std::vector<Walk<T>>& walks, const Strips<T>& strips) {
  const Geometry& g = plan.geometry;
  walks.clear();
  for (int64_t k = 0; k < g.synapses; ++k) {
    walks.push_back(without_columns_of_no_share(make_walk(plan, tile, synapses[k])));
  }
  const int64_t size = round_up(tile.width * g.channels, Wide<T>::kLanes);
  over_strips(g, tile, synapses, [&](int64_t row, int64_t n, int64_t y, int64_t k) {
    const Walk<T>& walk = walks[k];
    const auto row_at = [&](int64_t at) { return at >= 0 && at < g.height ? images.row(n, at) : nullptr; };
    const RowPair<T> rows(walk, row_at(y), row_at(y + 1));
    T* to = strips.row(k, row);
    const bool two_columns = walk.right_share != T(0);
    if (rows.upper == nullptr || sees_nothing(walk)) {
      std::fill_n(to, size, T(0));
    } else if (rows.lower != nullptr) {
      two_columns ? build_strip<T, 2, 2>(walk, rows, size, to) : build_strip<T, 2, 1>(walk, rows, size, to);
    } else {
      two_columns ? build_strip<T, 1, 2>(walk, rows, size, to) : build_strip<T, 1, 1>(walk, rows, size, to);
    }
  });
}

// PIXELS output pixels and a vector of outputs, of which `outputs` are present.
template <class T, int C, int PIXELS>
void multiply_strip_pixels(int64_t synapses, const T* strip, int64_t synapse_step, const T* weight, const T* bias,
                           int64_t outputs, T* out, int64_t out_step) {
  using S = Wide<T>;
  typename S::Vector sum[PIXELS];
  const typename S::Vector start = load<S>(bias);
#pragma GCC unroll 16
  for (int p = 0; p < PIXELS; ++p) sum[p] = start;
  for (int64_t k = 0; k < synapses; ++k, strip += synapse_step) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c, weight += S::kLanes) {
      const typename S::Vector factors = load<S>(weight);
#pragma GCC unroll 16
      for (int p = 0; p < PIXELS; ++p) sum[p] += strip[p * C + c] * factors;
    }
  }
#pragma GCC unroll 16
  for (int p = 0; p < PIXELS; ++p) {
    if (outputs >= S::kLanes) {
      store<S>(out + p * out_step, sum[p]);
    } else {
      T part[S::kLanes];
      store<S>(part, sum[p]);
      std::copy_n(part, outputs, out + p * out_step);
    }
  }
}

// out = bias + strips * weight, for the outputs of a segment. weight: [vector of outputs][synapse, channel][lane].
template <class T, int C>
void multiply_strips(const Plan& plan, const Tile& tile, const Strips<T>& strips, const T* weight, const T* bias,
                     int64_t outputs, T* out) {
  const Geometry& g = plan.geometry;
  constexpr int64_t kLanes = Wide<T>::kLanes;
  for (int64_t o = 0; o < outputs; o += kLanes, weight += g.synapses * C * kLanes) {
    for (int64_t row = 0; row < tile.images * tile.rows; ++row) {
      const T* strip = strips.row(0, row);
      T* to = out + row * tile.width * g.outputs + o;
      over_strip_pixels<kStripPixels>(tile.width, [&](auto pixels, int64_t x) {
        multiply_strip_pixels<T, C, pixels>(g.synapses, strip + x * C, strips.synapse_step(), weight, bias + o,
                                            outputs - o, to + x * g.outputs, g.outputs);
      });
    }
  }
}

template <class T>
void forward_few_channels(const ForwardProblem<T>& problem, int64_t begin, int64_t end) {
  const Plan& plan = problem.plan;
  const Geometry& g = plan.geometry;
  Images<T> images(plan, problem.synapses, problem.input, problem.layout);
  Strips<T> strips(plan);
  const bool copies = plan.copies_outputs(problem.layout);
  Buffer<T> out_copy(copies ? plan.largest_tile() * g.outputs : 0);
  // Each segment's begins on a vector of its own in `bias`.
  std::vector<T> bias(plan.packed_size / (g.synapses * g.channels), T(0));
  std::vector<Walk<T>> walks;

  for (int64_t index = begin; index < end; ++index) {
    const Tile tile = plan.tile(index);
    images.prepare(tile);
    T* out = copies ? out_copy.data() : static_cast<T*>(problem.output) + first_pixel(g, tile) * g.outputs;
    for (const SegmentPlan& part : plan.segments) {
      const int64_t weight_offset = part.blocks[0].weight_offset;
      T* part_bias = bias.data() + weight_offset / (g.synapses * g.channels);
      if (problem.bias != nullptr) std::copy_n(problem.bias + part.segment.out_begin, part.outputs(), part_bias);
      fill_strips(plan, tile, images, problem.synapses + part.segment.position_group * g.synapses, walks, strips);
      with_channels(g.channels, [&](auto channels) {
        multiply_strips<T, channels>(plan, tile, strips, problem.packed_weight + weight_offset, part_bias, part.outputs(),
                                     out + part.segment.out_begin);
      });
    }
    if (copies) send_outputs(g, tile, out, problem.output, problem.layout);
  }
}

}  // namespace acu::ACU_INSTRUCTION_SET
