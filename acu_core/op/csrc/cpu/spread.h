// Forward without columns: products of input pixels, spread on the outputs that see them (spread_plan.h).

#pragma once

#include "pixel_products.h"
#include "tile.h"

namespace acu::ACU_INSTRUCTION_SET {

// Where a strand's products of one row of the input go: output rows `upper` and, above it, `lower` (null outside), and of
// their columns to first + x and the one before it.
template <class T>
struct Spreading {
  T *upper, *lower;
  T upper_share, lower_share, left_share, right_share;
  int64_t first, pixels, width, pixel_step;
};

// What output column j gets is left_share of the product at x = j - first, and right_share of the one right of it.
template <class T, class S, bool UPPER, bool LOWER>
ACU_INLINE void spread_row(const Spreading<T>& to, const T* products) {
  using V = typename S::Vector;
  const auto give = [&](int64_t j, V e) {
    const int64_t at = j * to.pixel_step;
    if constexpr (UPPER) store<S>(to.upper + at, load<S>(to.upper + at) + to.upper_share * e);
    if constexpr (LOWER) store<S>(to.lower + at, load<S>(to.lower + at) + to.lower_share * e);
  };
  // Columns of the output that see a product: from that left of the first to that of the last.
  const int64_t begin = std::max<int64_t>(to.first - 1, 0), end = std::min(to.first + to.pixels, to.width);
  if (begin >= end) return;
  int64_t x = begin - to.first;
  V here = x >= 0 ? load<S>(products + x * kPanel<T>) : V{};
  int64_t j = begin;
  const int64_t both_end = std::min(end, to.first + to.pixels - 1);
  for (; j < both_end; ++j, ++x) {
    const V next = load<S>(products + (x + 1) * kPanel<T>);
    give(j, to.left_share * here + to.right_share * next);
    here = next;
  }
  if (j < end) give(j, to.left_share * here);
}

template <class T, class S>
void spread_row(const Spreading<T>& to, const T* products) {
  if (to.upper != nullptr && to.lower != nullptr) {
    spread_row<T, S, true, true>(to, products);
  } else if (to.upper != nullptr) {
    spread_row<T, S, true, false>(to, products);
  } else if (to.lower != nullptr) {
    spread_row<T, S, false, true>(to, products);
  }
}

// Output rows [row_begin, row_end) of one image, channels_last.
template <class T>
struct OutputRows {
  T* data;
  int64_t row_begin, row_end;
};

// The products of a strand for input rows [y, y + rows), spread.
template <class T, class S>
void spread_strand(const SpreadProblem<T>& problem, const Strand& strand, int64_t y, int64_t rows, const T* products,
                   const OutputRows<T>& out) {
  const Geometry& g = problem.plan.geometry;
  const Synapse<T>& synapse = problem.synapses[strand.synapse];
  // Output row i sees rows i - top + row and the next, so that input row y is the upper one of row y + top - row.
  const int64_t row_step = g.out_width * g.outputs;
  Spreading<T> to{nullptr, nullptr, T(1) - synapse.fraction_y, synapse.fraction_y, T(1) - synapse.fraction_x,
                  synapse.fraction_x, g.padding.left - synapse.column, g.width, g.out_width, g.outputs};
  const auto row_at = [&](int64_t i) {
    return i >= out.row_begin && i < out.row_end ? out.data + (i - out.row_begin) * row_step + strand.output : nullptr;
  };
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t i = y + r + g.padding.top - synapse.row;
    to.upper = to.upper_share != T(0) ? row_at(i) : nullptr;
    to.lower = to.lower_share != T(0) ? row_at(i - 1) : nullptr;
    spread_row<T, S>(to, products + r * g.width * kPanel<T>);
  }
}

template <class T>
void spread_strands(const SpreadProblem<T>& problem, int64_t panel, int64_t y, int64_t rows, const T* products,
                    const OutputRows<T>& out, PixelProducts<T>& pixel_products) {
  const SpreadPlan& plan = problem.plan;
  for (int64_t i = plan.first_of[panel]; i < plan.first_of[panel + 1]; ++i) {
    const Strand& strand = plan.strands[i];
    const T* from = products + strand.column % plan.panel;
    pixel_products.stay_awake();
    with_lanes<T>(strand.lanes, [&](auto lanes) { spread_strand<T, decltype(lanes)>(problem, strand, y, rows, from, out); });
  }
}

// 0 * inf is NaN, and so is any sum with it.
template <class T>
bool all_finite(int64_t count, const T* values) {
  using S = Wide<T>;
  typename S::Vector check{};
  int64_t i = 0;
  for (; i + S::kLanes <= count; i += S::kLanes) check += load<S>(values + i) * T(0);
  T sum = 0;
  for (; i < count; ++i) sum += values[i] * T(0);
  for (int64_t lane = 0; lane < S::kLanes; ++lane) sum += check[lane];
  return sum == T(0);
}

// Image rows that output rows see, without synapses that see none: one far outside would make them all.
template <class T>
RowRange seen_rows(const SpreadProblem<T>& problem, const OutputRows<T>& out) {
  const Geometry& g = problem.plan.geometry;
  RowRange rows{g.height, 0};
  for (int64_t t = 0; t < g.position_groups * g.synapses; ++t) {
    const int64_t above = problem.synapses[t].row - g.padding.top;
    const int64_t first = std::max<int64_t>(out.row_begin + above, 0), end = std::min(out.row_end + above + 1, g.height);
    if (first >= end) continue;
    rows = {std::min(rows.begin, first), std::max(rows.end, end)};
  }
  return rows;
}

// One piece of one image: some of its output rows. Returns whether all of them are finite.
template <class T>
bool forward_by_spreading(const SpreadProblem<T>& problem, int64_t portion) {
  const SpreadPlan& plan = problem.plan;
  const Geometry& g = plan.geometry;
  const int64_t image = portion / plan.pieces, piece = portion % plan.pieces;
  OutputRows<T> out{nullptr, g.out_height * piece / plan.pieces, g.out_height * (piece + 1) / plan.pieces};
  const int64_t pixels = (out.row_end - out.row_begin) * g.out_width, first = out.row_begin * g.out_width;
  const int64_t rows_at_once = std::max<int64_t>(plan.tile_pixels / g.width, 1);
  PixelProducts<T> pixel_products(problem, rows_at_once * g.width);
  Buffer<T> products(pixel_products.room(rows_at_once * g.width) * kPanel<T>);
  Buffer<T> input_copy(problem.channels_last ? 0 : rows_at_once * g.width * g.channels);
  Buffer<T> output_copy(problem.channels_last ? 0 : pixels * g.outputs);
  out.data = problem.channels_last ? problem.output + (image * g.out_pixels() + first) * g.outputs : output_copy.data();
  for (int64_t p = 0; p < pixels; ++p) {
    T* to = out.data + p * g.outputs;
    problem.bias != nullptr ? std::copy_n(problem.bias, g.outputs, to) : std::fill_n(to, g.outputs, T(0));
  }
  const RowRange seen = seen_rows(problem, out);
  for (int64_t y = seen.begin; y < seen.end; y += rows_at_once) {
    const int64_t rows = std::min(rows_at_once, seen.end - y);
    const T* input = problem.input + (image * g.height + y) * g.width * g.channels;
    if (!problem.channels_last) {
      transpose(g.channels, rows * g.width, problem.input + image * g.channels * g.height * g.width + y * g.width,
                g.height * g.width, input_copy.data(), g.channels);
      input = input_copy.data();
    }
    pixel_products.take_pixels(rows * g.width, input);
    for (int64_t panel = 0; panel < plan.panels; ++panel) {
      pixel_products.multiply(panel, products.data());
      spread_strands(problem, panel, y, rows, products.data(), out, pixel_products);
    }
  }
  const bool finite = all_finite(pixels * g.outputs, out.data);
  if (!problem.channels_last) {
    transpose(pixels, g.outputs, out.data, g.outputs, problem.output + image * g.outputs * g.out_pixels() + first,
              g.out_pixels());
  }
  return finite;
}

}  // namespace acu::ACU_INSTRUCTION_SET
