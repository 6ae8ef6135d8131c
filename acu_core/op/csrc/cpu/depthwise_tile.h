// A tile of a depthwise convolution, forward and backward. A tile writes what nobody else does: its pixels of the output,
// and its part of the input's gradient, for which it looks at the gradients of its neighbours' pixels too.

#pragma once

#include "depthwise.h"
#include "depthwise_exact.h"

namespace acu::ACU_INSTRUCTION_SET {

// Chunks that go together, as wide as a vector: so that what is read of a pixel, and written, is whole lines of the cache.
struct ChunkGroup {
  const CellChunk* chunks;
  int64_t count;

  const CellChunk& operator[](int64_t i) const { return chunks[i]; }
};

constexpr int64_t kBytesTogether = 256;

template <class T>
constexpr int64_t kChunksTogether = kBytesTogether / ACU_VECTOR_BYTES;

// For each chunk of a group, 0 times all that was written of it: NaN where something is not finite.
template <class T>
class FiniteCheck {
 public:
  void start(int64_t chunk) { std::fill_n(of(chunk), Wide<T>::kLanes, T(0)); }
  T* of(int64_t chunk) { return values_ + chunk * Wide<T>::kLanes; }
  bool all_finite(int64_t chunk) {
    return std::all_of(of(chunk), of(chunk) + Wide<T>::kLanes, [](T value) { return value == T(0); });
  }

 private:
  alignas(64) T values_[kChunksTogether<T> * Wide<T>::kLanes];
};

template <class T>
struct DepthwiseScratch {
  PaddedRows<T> image, gradient;
  Scratch<T> copy, results;
  std::vector<Look<T>> looks;
  std::vector<Meeting<T>> meetings;
  FiniteCheck<T> check;
};

// Calls f(kind of vector, group) for groups of chunks.
template <class T, class F>
void over_chunk_groups(const Cells<T>& cells, const F& f) {
  const int64_t count = static_cast<int64_t>(cells.chunks.size());
  for (int64_t i = 0; i < count;) {
    const int64_t lanes = cells.chunks[i].channels;
    int64_t end = i + 1;
    while (end < count && end - i < kChunksTogether<T> && lanes == Wide<T>::kLanes &&
           cells.chunks[end].channels == lanes) {
      ++end;
    }
    with_lanes<T>(lanes, [&](auto kind) { f(kind, ChunkGroup{cells.chunks.data() + i, end - i}); });
    i = end;
  }
}

// The input's rows that the tile's pixels see, and its columns counted in strides.
template <class T>
Region seen_by(const Geometry& g, const Tile& tile, const Cells<T>& cells, const ChunkGroup& group) {
  Region seen{g.height, 0, INT64_MAX, INT64_MIN};
  for (int64_t i = 0; i < group.count; ++i) {
    const CellMap& map = cells.maps[group[i].map];
    const int64_t begin = std::clamp<int64_t>(tile.row * g.stride.h + map.row_begin, 0, g.height);
    seen.row_begin = std::min(seen.row_begin, begin);
    seen.row_end = std::max(seen.row_end, std::clamp((tile.row + tile.rows - 1) * g.stride.h + map.row_end, begin, g.height));
    seen.column_begin = std::min(seen.column_begin, tile.column + map.first_begin);
    seen.column_end = std::max(seen.column_end, tile.column + tile.width - 1 + map.first_end);
  }
  return seen;
}

// The pixels of the input whose gradient the tile writes: as its own lie among those of the output.
inline Region owned_by(const Geometry& g, const Tile& tile) {
  return {tile.row * g.height / g.out_height, (tile.row + tile.rows) * g.height / g.out_height,
          tile.column * g.width / g.out_width, (tile.column + tile.width) * g.width / g.out_width};
}

// A region of image n of a tensor for a group of chunks.
template <class T, class S>
void fill_rows(const void* tensor, const Geometry& g, int64_t n, int64_t height, int64_t width, Layout layout,
               const ChunkGroup& group, const Region& region, int64_t stride, Scratch<T>& copy, PaddedRows<T>& rows) {
  rows.lay_out(region, stride, group.count, S::kLanes);
  const int64_t first = region.row_begin * width, count = (region.row_end - region.row_begin) * width;
  const int64_t together = layout.channels_last ? group.count : 1;
  for (int64_t i = 0; i < group.count; i += together) {
    const auto plane = chunks_to_read<T, S>(tensor, n, group[i].channel, together, g.channels, height * width, layout,
                                            first, count, copy);
    rows.template fill<S>(plane, width, i, together);
  }
}

template <class T, class S>
void fill_image(const Plan& plan, const void* input, Layout layout, const Tile& tile, int64_t n, const Cells<T>& cells,
                const ChunkGroup& group, DepthwiseScratch<T>& scratch) {
  const Geometry& g = plan.geometry;
  fill_rows<T, S>(input, g, n, g.height, g.width, layout, group, seen_by(g, tile, cells, group), g.stride.w, scratch.copy,
                  scratch.image);
}

// Where the chunks of a group are written: pixels [first, first + count) of image n, straight or by way of a copy.
template <class T, class S>
class GroupOutput {
 public:
  GroupOutput(void* tensor, const Geometry& g, int64_t n, int64_t pixels, Layout layout, const ChunkGroup& group,
              int64_t first, int64_t count, Scratch<T>& results)
      : tensor_(tensor), layout_(layout), channels_(g.channels), n_(n), pixels_(pixels), group_(group), first_(first),
        count_(count), copies_(layout.element != Element::kOwn || (!layout.channels_last && S::kLanes > 1)),
        data_(copies_ ? results.at_least(group.count * count * S::kLanes) : static_cast<T*>(tensor) + place_of(0)),
        step_(copies_ ? S::kLanes : layout.channels_last ? g.channels : 1) {}

  int64_t step() const { return step_; }

  T* at(int64_t chunk, int64_t pixel) const {
    return copies_ ? data_ + (chunk * count_ + pixel - first_) * S::kLanes : data_ + pixel * step_ + chunk * S::kLanes;
  }

  // Sends pixels [first, first + count) to where they belong, if they are not there.
  void finish(int64_t first, int64_t count) const {
    if (!copies_) return;
    with_elements<T>(layout_.element, tensor_, [&](auto* to) {
      if (!layout_.channels_last) {
        for (int64_t i = 0; i < group_.count; ++i) {
          transpose(count, S::kLanes, at(i, first), S::kLanes, to + place_of(i) + first, pixels_);
        }
        return;
      }
      for (int64_t p = first; p < first + count; ++p) {
        for (int64_t i = 0; i < group_.count; ++i) copy_elements(at(i, p), S::kLanes, to + place_of(i) + p * channels_);
      }
    });
  }

 private:
  // Of a chunk's first element in the tensor.
  int64_t place_of(int64_t chunk) const {
    const int64_t channel = group_[chunk].channel;
    return layout_.channels_last ? n_ * pixels_ * channels_ + channel : (n_ * channels_ + channel) * pixels_;
  }

  void* tensor_;
  Layout layout_;
  int64_t channels_, n_, pixels_;
  ChunkGroup group_;
  int64_t first_, count_;
  bool copies_;
  T* data_;
  int64_t step_;
};

// ---------------------------------------------------------------------------------------------------- forward

template <class T, class S>
void forward_group(const ForwardProblem<T>& problem, const Tile& tile, int64_t n, const ChunkGroup& group,
                   DepthwiseScratch<T>& scratch) {
  const Geometry& g = problem.plan.geometry;
  const Cells<T>& cells = *problem.cells;
  fill_image<T, S>(problem.plan, problem.input, problem.layout, tile, n, cells, group, scratch);
  const int64_t first = tile.row * g.out_width + tile.column, count = tile.rows * tile.width;
  const GroupOutput<T, S> out(problem.output, g, n, g.out_pixels(), problem.layout, group, first, count, scratch.results);
  const int64_t together = pixels_together<T, S>(tile.width);
  for (int64_t i = 0; i < group.count; ++i) scratch.check.start(i);
  for (int64_t i = tile.row; i < tile.row + tile.rows; ++i) {
    for (int64_t c = 0; c < group.count; ++c) {
      if (c == 0 || group[c].map != group[c - 1].map) {
        scratch.looks.clear();
        for (const CellRow& row : cells.maps[group[c].map].blended) {
          const int64_t y = i * g.stride.h + row.row;
          if (y < 0 || y >= g.height) continue;
          scratch.looks.push_back({scratch.image.at(y, row.remainder, row.first + tile.column), row.cell * S::kLanes,
                                   row.length});
        }
      }
      alignas(64) T start[S::kLanes]{};
      if (problem.bias != nullptr) std::copy_n(problem.bias + group[c].channel, S::kLanes, start);
      blend_row<T, S>(scratch.looks, tile.width, together, c * scratch.image.chunk_step(), cells.weights(group[c]), start,
                      scratch.check.of(c), out.at(c, i * g.out_width + tile.column), out.step());
    }
  }
  for (int64_t c = 0; c < group.count; ++c) {
    if (scratch.check.all_finite(c)) continue;
    for (int64_t i = tile.row; i < tile.row + tile.rows; ++i) {
      for (int64_t j = tile.column; j < tile.column + tile.width; ++j) {
        for (int64_t lane = 0; lane < S::kLanes; ++lane) {
          out.at(c, i * g.out_width + j)[lane] = exact_output(problem, n, group[c].channel + lane, i, j);
        }
      }
    }
  }
  out.finish(first, count);
}

template <class T>
void forward_depthwise(const ForwardProblem<T>& problem, int64_t begin, int64_t end) {
  DepthwiseScratch<T> scratch;
  for (int64_t index = begin; index < end; ++index) {
    const Tile tile = problem.plan.tile(index);
    for (int64_t n = tile.image; n < tile.image + tile.images; ++n) {
      over_chunk_groups(*problem.cells, [&](auto kind, const ChunkGroup& group) {
        forward_group<T, decltype(kind)>(problem, tile, n, group, scratch);
      });
    }
  }
}

// --------------------------------------------------------------------------------------------------- backward

// The gradient of the output around the tile, where its part of the input's gradient looks and where the tile's pixels are.
template <class T, class S>
void fill_gradient(const BackwardProblem<T>& problem, const Tile& tile, const Region& owned, int64_t n,
                   const ChunkGroup& group, DepthwiseScratch<T>& scratch) {
  const Geometry& g = problem.plan.geometry;
  Region region{tile.row, tile.row + tile.rows, tile.column, tile.column + tile.width};
  for (int64_t i = 0; i < group.count && problem.grad_input != nullptr && !owned.empty(); ++i) {
    const CellMap& map = problem.cells->maps[group[i].map];
    const int64_t first_row = floor_quotient(owned.row_begin - map.row_end, g.stride.h) + 1;
    const int64_t last_row = floor_quotient(owned.row_end - 1 - map.row_begin, g.stride.h);
    region.row_begin = std::clamp<int64_t>(first_row, 0, region.row_begin);
    region.row_end = std::clamp(last_row + 1, region.row_end, g.out_height);
    region.column_begin = std::min(region.column_begin, owned.column_begin / g.stride.w - map.first_end + 1);
    region.column_end = std::max(region.column_end, (owned.column_end - 1) / g.stride.w - map.first_begin + 1);
  }
  fill_rows<T, S>(problem.grad_output, g, n, g.out_height, g.out_width, problem.layout, group, region, 1, scratch.copy,
                  scratch.gradient);
}

// For each cell the sum over the tile's pixels of their gradient times what they see there.
template <class T, class S>
void sum_group(const BackwardProblem<T>& problem, const Tile& tile, int64_t n, const ChunkGroup& group,
               DepthwiseScratch<T>& scratch, T* sums) {
  const Geometry& g = problem.plan.geometry;
  fill_image<T, S>(problem.plan, problem.input, problem.layout, tile, n, *problem.cells, group, scratch);
  for (int64_t c = 0, alike; c < group.count; c = alike) {
    alike = c + 1;
    while (alike < group.count && group[alike].map == group[c].map) ++alike;
    for (const CellRow& row : problem.cells->maps[group[c].map].summed) {
      scratch.meetings.clear();
      for (int64_t i = tile.row; i < tile.row + tile.rows; ++i) {
        const int64_t y = i * g.stride.h + row.row;
        if (y < 0 || y >= g.height) continue;
        scratch.meetings.push_back({scratch.image.at(y, row.remainder, row.first + tile.column),
                                    scratch.gradient.at(i, 0, tile.column)});
      }
      for (int64_t i = c; i < alike; ++i) {
        sum_cells<T, S>(row.length, scratch.meetings, tile.width, i * scratch.image.chunk_step(),
                        i * scratch.gradient.chunk_step(), sums + group[i].sums + row.cell * S::kLanes);
      }
    }
  }
}

template <class T, class S>
void add_bias_group(const Tile& tile, const PaddedRows<T>& gradient, const ChunkGroup& group, double* sums) {
  for (int64_t c = 0; c < group.count; ++c) {
    typename S::Vector sum{};
    for (int64_t i = tile.row; i < tile.row + tile.rows; ++i) {
      const T* row = gradient.at(i, 0, tile.column) + c * gradient.chunk_step();
      for (int64_t j = 0; j < tile.width; ++j) sum += load<S>(row + j * S::kLanes);
    }
    alignas(64) T values[S::kLanes];
    store<S>(values, sum);
    for (int64_t lane = 0; lane < S::kLanes; ++lane) sums[group[c].channel + lane] += values[lane];
  }
}

// The tile's part of the input's gradient: a pixel hears from the output pixels that see it, which with a stride are other
// ones for each remainder.
template <class T, class S>
void give_to_input(const BackwardProblem<T>& problem, const Region& owned, int64_t n, const ChunkGroup& group,
                   DepthwiseScratch<T>& scratch) {
  const Geometry& g = problem.plan.geometry;
  const Cells<T>& cells = *problem.cells;
  const int64_t first = owned.row_begin * g.width, count = (owned.row_end - owned.row_begin) * g.width;
  const GroupOutput<T, S> out(problem.grad_input, g, n, g.height * g.width, problem.layout, group, first, count,
                              scratch.results);
  alignas(64) constexpr T kNothing[S::kLanes]{};
  int64_t pixels = 0, together = 0;
  for (int64_t c = 0; c < group.count; ++c) scratch.check.start(c);
  for (int64_t y = owned.row_begin; y < owned.row_end; ++y) {
    for (int64_t remainder = 0; remainder < g.stride.w; ++remainder) {
      const int64_t begin = ceil_div(std::max<int64_t>(owned.column_begin - remainder, 0), g.stride.w);
      const int64_t end = ceil_div(std::max<int64_t>(owned.column_end - remainder, 0), g.stride.w);
      if (begin >= end) continue;
      if (pixels != end - begin) {
        pixels = end - begin;
        together = pixels_together<T, S>(pixels);
      }
      for (int64_t c = 0; c < group.count; ++c) {
        if (c == 0 || group[c].map != group[c - 1].map) {
          scratch.looks.clear();
          for (const CellRow& row : cells.maps[group[c].map].blended) {
            const int64_t down = y - row.row, i = g.stride.h == 1 ? down : down / g.stride.h;
            if (row.remainder != remainder || down < 0 || i * g.stride.h != down || i >= g.out_height) continue;
            scratch.looks.push_back({scratch.gradient.at(i, 0, begin - row.first - row.length + 1), row.cell * S::kLanes,
                                     row.length});
          }
        }
        blend_row<T, S>(scratch.looks, pixels, together, c * scratch.gradient.chunk_step(),
                        cells.gradient_weights(group[c]), kNothing, scratch.check.of(c),
                        out.at(c, y * g.width + begin * g.stride.w + remainder), g.stride.w * out.step());
      }
    }
  }
  for (int64_t c = 0; c < group.count; ++c) {
    if (scratch.check.all_finite(c)) continue;
    for (int64_t y = owned.row_begin; y < owned.row_end; ++y) {
      for (int64_t x = owned.column_begin; x < owned.column_end; ++x) {
        for (int64_t lane = 0; lane < S::kLanes; ++lane) {
          out.at(c, y * g.width + x)[lane] = exact_input_gradient(problem, n, group[c].channel + lane, y, x);
        }
      }
    }
  }
  const int64_t columns = owned.column_end - owned.column_begin;
  if (columns == g.width) {
    out.finish(first, count);
    return;
  }
  for (int64_t y = owned.row_begin; y < owned.row_end; ++y) out.finish(y * g.width + owned.column_begin, columns);
}

// Everything that a slot sums is in sums.weight and sums.positions at its end; no image is shared between slots.
template <class T>
void backward_depthwise(const BackwardProblem<T>& problem, int64_t begin, int64_t end, SlotSums<T>& sums) {
  const Plan& plan = problem.plan;
  const Cells<T>& cells = *problem.cells;
  const bool sums_cells = problem.need_weight || problem.need_positions;
  DepthwiseScratch<T> scratch;
  Buffer<T> cell_sums(cells.sums_size);
  std::fill_n(cell_sums.data(), cells.sums_size, T(0));
  for (int64_t index = begin; index < end; ++index) {
    const Tile tile = plan.tile(index);
    const Region owned = owned_by(plan.geometry, tile);
    for (int64_t n = tile.image; n < tile.image + tile.images; ++n) {
      over_chunk_groups(cells, [&](auto kind, const ChunkGroup& group) {
        using S = decltype(kind);
        fill_gradient<T, S>(problem, tile, owned, n, group, scratch);
        if (sums_cells) sum_group<T, S>(problem, tile, n, group, scratch, cell_sums.data());
        if (problem.need_bias) add_bias_group<T, S>(tile, scratch.gradient, group, sums.bias.data());
        if (problem.grad_input != nullptr && !owned.empty()) give_to_input<T, S>(problem, owned, n, group, scratch);
      });
    }
  }
  if (sums_cells) {
    cells.finish_sums(cell_sums.data(), problem.need_weight ? sums.weight.data() : nullptr, sums.positions.data());
  }
}

}  // namespace acu::ACU_INSTRUCTION_SET
