// A tile of a depthwise convolution, forward and backward. A tile writes what nobody else does: its pixels of the output,
// and its part of the input's gradient, for which it looks at the gradients of its neighbours' pixels too.

#pragma once

#include "depthwise.h"
#include "depthwise_exact.h"

namespace acu::ACU_INSTRUCTION_SET {

template <class T>
struct DepthwiseScratch {
  PaddedRows<T> image, gradient;
  Scratch<T> image_copy, gradient_copy, results;
  std::vector<Look<T>> looks;
  std::vector<Meeting<T>> meetings;
};

// Pixels of the input.
struct Region {
  int64_t row_begin, row_end, column_begin, column_end;

  bool empty() const { return row_begin >= row_end || column_begin >= column_end; }
};

// The input's rows that the tile's pixels see, and its columns counted in strides.
inline Region seen_by(const Geometry& g, const Tile& tile, const CellMap& map) {
  const int64_t begin = std::clamp<int64_t>(tile.row * g.stride.h + map.row_begin, 0, g.height);
  const int64_t end = std::clamp((tile.row + tile.rows - 1) * g.stride.h + map.row_end, begin, g.height);
  return {begin, end, tile.column + map.first_begin, tile.column + tile.width - 1 + map.first_end};
}

// The pixels of the input whose gradient the tile writes: as its own lie among those of the output.
inline Region owned_by(const Geometry& g, const Tile& tile) {
  return {tile.row * g.height / g.out_height, (tile.row + tile.rows) * g.height / g.out_height,
          tile.column * g.width / g.out_width, (tile.column + tile.width) * g.width / g.out_width};
}

// ---------------------------------------------------------------------------------------------------- forward

template <class T, class S>
void forward_chunk(const ForwardProblem<T>& problem, const Tile& tile, int64_t n, const CellChunk& chunk,
                   DepthwiseScratch<T>& scratch) {
  const Geometry& g = problem.plan.geometry;
  const CellMap& map = problem.cells->maps[chunk.map];
  const Region seen = seen_by(g, tile, map);
  const auto image = chunk_to_read<T, S>(problem.input, n, chunk.channel, g.channels, g.height * g.width,
                                         problem.channels_last, seen.row_begin * g.width,
                                         (seen.row_end - seen.row_begin) * g.width, scratch.image_copy);
  scratch.image.template fill<S>(image, g.width, seen.row_begin, seen.row_end, g.stride.w, seen.column_begin,
                                 seen.column_end);
  const int64_t first = tile.row * g.out_width + tile.column, count = tile.rows * tile.width;
  const auto out = chunk_to_write<T, S>(problem.output, n, chunk.channel, g.channels, g.out_pixels(),
                                        problem.channels_last, first, count, scratch.results);
  alignas(64) T start[S::kLanes]{}, check[S::kLanes]{};
  if (problem.bias != nullptr) std::copy_n(problem.bias + chunk.channel, S::kLanes, start);
  for (int64_t i = tile.row; i < tile.row + tile.rows; ++i) {
    scratch.looks.clear();
    for (const CellRow& row : map.blended) {
      const int64_t y = i * g.stride.h + row.row;
      if (y < 0 || y >= g.height) continue;
      scratch.looks.push_back({scratch.image.template at<S>(y, row.remainder, row.first + tile.column),
                               problem.cells->weights(chunk) + row.cell * S::kLanes, row.length});
    }
    blend_row<T, S>(scratch.looks, tile.width, start, check, out.at(i * g.out_width + tile.column), out.step);
  }
  if (!all_zero(check)) {
    for (int64_t i = tile.row; i < tile.row + tile.rows; ++i) {
      for (int64_t j = tile.column; j < tile.column + tile.width; ++j) {
        for (int64_t lane = 0; lane < S::kLanes; ++lane) {
          out.at(i * g.out_width + j)[lane] = exact_output(problem, n, chunk.channel + lane, i, j);
        }
      }
    }
  }
  send_home<T, S>(out, problem.output, n, chunk.channel, g.channels, g.out_pixels(), problem.channels_last, first, count);
}

template <class T>
void forward_depthwise(const ForwardProblem<T>& problem, int64_t portion, int64_t portions) {
  const Plan& plan = problem.plan;
  const int64_t begin = plan.first_tile(portion, portions), end = plan.first_tile(portion + 1, portions);
  DepthwiseScratch<T> scratch;
  for (int64_t index = begin; index < end; ++index) {
    const Tile tile = plan.tile(index);
    for (int64_t n = tile.image; n < tile.image + tile.images; ++n) {
      for (const CellChunk& chunk : problem.cells->chunks) {
        with_lanes<T>(chunk.channels, [&](auto lanes) {
          forward_chunk<T, decltype(lanes)>(problem, tile, n, chunk, scratch);
        });
      }
    }
  }
}

// --------------------------------------------------------------------------------------------------- backward

// The gradient of the output around the tile, where its part of the input's gradient looks and where the tile's pixels are.
template <class T, class S>
void fill_gradient(const BackwardProblem<T>& problem, const Tile& tile, const Region& owned, int64_t n,
                   const CellChunk& chunk, DepthwiseScratch<T>& scratch) {
  const Geometry& g = problem.plan.geometry;
  const CellMap& map = problem.cells->maps[chunk.map];
  Region region{tile.row, tile.row + tile.rows, tile.column, tile.column + tile.width};
  if (problem.grad_input != nullptr && !owned.empty() && !map.blended.empty()) {
    const int64_t first_row = floor_quotient(owned.row_begin - map.row_end, g.stride.h) + 1;
    const int64_t last_row = floor_quotient(owned.row_end - 1 - map.row_begin, g.stride.h);
    region.row_begin = std::clamp<int64_t>(first_row, 0, region.row_begin);
    region.row_end = std::clamp(last_row + 1, region.row_end, g.out_height);
    region.column_begin = std::min(region.column_begin, owned.column_begin / g.stride.w - map.first_end + 1);
    region.column_end = std::max(region.column_end, (owned.column_end - 1) / g.stride.w - map.first_begin + 1);
  }
  const auto gradient = chunk_to_read<T, S>(problem.grad_output, n, chunk.channel, g.channels, g.out_pixels(),
                                            problem.channels_last, region.row_begin * g.out_width,
                                            (region.row_end - region.row_begin) * g.out_width, scratch.gradient_copy);
  scratch.gradient.template fill<S>(gradient, g.out_width, region.row_begin, region.row_end, 1, region.column_begin,
                                    region.column_end);
}

// For each cell the sum over the tile's pixels of their gradient times what they see there.
template <class T, class S>
void sum_chunk(const BackwardProblem<T>& problem, const Tile& tile, int64_t n, const CellChunk& chunk,
               DepthwiseScratch<T>& scratch, T* sums) {
  const Geometry& g = problem.plan.geometry;
  const CellMap& map = problem.cells->maps[chunk.map];
  const Region seen = seen_by(g, tile, map);
  const auto image = chunk_to_read<T, S>(problem.input, n, chunk.channel, g.channels, g.height * g.width,
                                         problem.channels_last, seen.row_begin * g.width,
                                         (seen.row_end - seen.row_begin) * g.width, scratch.image_copy);
  scratch.image.template fill<S>(image, g.width, seen.row_begin, seen.row_end, g.stride.w, seen.column_begin,
                                 seen.column_end);
  for (const CellRow& row : map.summed) {
    scratch.meetings.clear();
    for (int64_t i = tile.row; i < tile.row + tile.rows; ++i) {
      const int64_t y = i * g.stride.h + row.row;
      if (y < 0 || y >= g.height) continue;
      scratch.meetings.push_back({scratch.image.template at<S>(y, row.remainder, row.first + tile.column),
                                  scratch.gradient.template at<S>(i, 0, tile.column)});
    }
    sum_cells<T, S>(row.length, scratch.meetings, tile.width, sums + row.cell * S::kLanes);
  }
}

template <class T, class S>
void add_bias_chunk(const Tile& tile, const PaddedRows<T>& gradient, double* sums) {
  typename S::Vector sum{};
  for (int64_t i = tile.row; i < tile.row + tile.rows; ++i) {
    const T* row = gradient.template at<S>(i, 0, tile.column);
    for (int64_t j = 0; j < tile.width; ++j) sum += load<S>(row + j * S::kLanes);
  }
  alignas(64) T values[S::kLanes];
  store<S>(values, sum);
  for (int64_t lane = 0; lane < S::kLanes; ++lane) sums[lane] += values[lane];
}

// The tile's part of the input's gradient: a pixel hears from the output pixels that see it, which with a stride are other
// ones for each remainder.
template <class T, class S>
void give_to_input(const BackwardProblem<T>& problem, const Region& owned, int64_t n, const CellChunk& chunk,
                   DepthwiseScratch<T>& scratch) {
  const Geometry& g = problem.plan.geometry;
  const CellMap& map = problem.cells->maps[chunk.map];
  const int64_t first = owned.row_begin * g.width, count = (owned.row_end - owned.row_begin) * g.width;
  const auto out = chunk_to_write<T, S>(problem.grad_input, n, chunk.channel, g.channels, g.height * g.width,
                                        problem.channels_last, first, count, scratch.results);
  alignas(64) T start[S::kLanes]{}, check[S::kLanes]{};
  for (int64_t y = owned.row_begin; y < owned.row_end; ++y) {
    for (int64_t remainder = 0; remainder < g.stride.w; ++remainder) {
      const int64_t begin = ceil_div(std::max<int64_t>(owned.column_begin - remainder, 0), g.stride.w);
      const int64_t end = ceil_div(std::max<int64_t>(owned.column_end - remainder, 0), g.stride.w);
      if (begin >= end) continue;
      scratch.looks.clear();
      for (const CellRow& row : map.blended) {
        const int64_t down = y - row.row;
        if (row.remainder != remainder || down < 0 || down % g.stride.h != 0 || down / g.stride.h >= g.out_height) continue;
        scratch.looks.push_back({scratch.gradient.template at<S>(down / g.stride.h, 0, begin - row.first - row.length + 1),
                                 problem.cells->gradient_weights(chunk) + row.cell * S::kLanes, row.length});
      }
      blend_row<T, S>(scratch.looks, end - begin, start, check, out.at(y * g.width + begin * g.stride.w + remainder),
                      g.stride.w * out.step);
    }
  }
  if (!all_zero(check)) {
    for (int64_t y = owned.row_begin; y < owned.row_end; ++y) {
      for (int64_t x = owned.column_begin; x < owned.column_end; ++x) {
        for (int64_t lane = 0; lane < S::kLanes; ++lane) {
          out.at(y * g.width + x)[lane] = exact_input_gradient(problem, n, chunk.channel + lane, y, x);
        }
      }
    }
  }
  const int64_t columns = owned.column_end - owned.column_begin;
  if (columns == g.width) {
    send_home<T, S>(out, problem.grad_input, n, chunk.channel, g.channels, g.height * g.width, problem.channels_last, first,
                    count);
    return;
  }
  for (int64_t y = owned.row_begin; y < owned.row_end; ++y) {
    send_home<T, S>(out, problem.grad_input, n, chunk.channel, g.channels, g.height * g.width, problem.channels_last,
                    y * g.width + owned.column_begin, columns);
  }
}

// Everything that a slot sums is in sums.weight and sums.positions at its end; no image is shared between slots.
template <class T>
void backward_depthwise(const BackwardProblem<T>& problem, int64_t slot, int64_t slots, SlotSums<T>& sums) {
  const Plan& plan = problem.plan;
  const Geometry& g = plan.geometry;
  const Cells<T>& cells = *problem.cells;
  const bool sums_cells = problem.need_weight || problem.need_positions;
  DepthwiseScratch<T> scratch;
  Buffer<T> cell_sums(cells.sums_size);
  std::fill_n(cell_sums.data(), cells.sums_size, T(0));
  const int64_t begin = plan.first_tile(slot, slots), end = plan.first_tile(slot + 1, slots);
  for (int64_t index = begin; index < end; ++index) {
    const Tile tile = plan.tile(index);
    const Region owned = owned_by(g, tile);
    for (int64_t n = tile.image; n < tile.image + tile.images; ++n) {
      for (const CellChunk& chunk : cells.chunks) {
        with_lanes<T>(chunk.channels, [&](auto lanes) {
          using S = decltype(lanes);
          fill_gradient<T, S>(problem, tile, owned, n, chunk, scratch);
          if (sums_cells) sum_chunk<T, S>(problem, tile, n, chunk, scratch, cell_sums.data() + chunk.sums);
          if (problem.need_bias) add_bias_chunk<T, S>(tile, scratch.gradient, sums.bias.data() + chunk.channel);
          if (problem.grad_input != nullptr && !owned.empty()) give_to_input<T, S>(problem, owned, n, chunk, scratch);
        });
      }
    }
  }
  if (sums_cells) {
    cells.finish_sums(cell_sums.data(), problem.need_weight ? sums.weight.data() : nullptr, sums.positions.data());
  }
}

}  // namespace acu::ACU_INSTRUCTION_SET
