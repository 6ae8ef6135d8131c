// A depthwise convolution in cells. Its synapses meet few pixels: nine of them near a 3 x 3 grid meet 9 to 25. Each channel
// has one output, so what all its synapses say about one cell is one number, and a pixel costs one multiply-add for each
// cell, where interpolation alone would cost four for each synapse. The same numbers serve the gradient of the input. For
// weights and positions backward sums, for each cell, the output's gradient times the pixel there: both gradients are
// blends of these sums.
//
// Channels go a vector at a time, then in narrower ones. With one shape for all channels every chunk has the same
// cells, with several a chunk has those of all its channels; where a channel does not meet one its weight is 0.

#pragma once

#include <algorithm>
#include <array>

#include "problem.h"

namespace acu {

// Floor and remainder, where C++ truncates; the divisor is positive.
constexpr int64_t floor_quotient(int64_t value, int64_t divisor) {
  return value >= 0 ? value / divisor : -ceil_div(-value, divisor);
}
constexpr int64_t floor_remainder(int64_t value, int64_t divisor) {
  return value - floor_quotient(value, divisor) * divisor;
}

// Cells in one row, as many as the kernels hold in registers at most: each is `stride` columns right of the one before, so
// that what the last cell of one output pixel sees, the one before it sees for the next.
//
// Output pixel (i, j) looks at image row i * stride + row, and there at columns (j + first) * stride + remainder and on.
struct CellRow {
  int64_t row, remainder, first, length;
  int64_t cell;  // of the first, among the cells of the list that it belongs to
};

constexpr int64_t kLongestCellRow = 5;

// Of the upper left, upper right, lower left and lower right corner of a position.
using CornerPlaces = std::array<int64_t, 4>;

// The cells that the channels of a chunk meet.
struct CellMap {
  std::vector<CellRow> blended;  // with a share: what forward and the input's gradient read
  std::vector<CellRow> summed;   // all, for the derivative counts those without a share too
  int64_t blended_cells = 0, summed_cells = 0;
  // What all of them lie in: rows, and columns counted in strides.
  int64_t row_begin = 0, row_end = 0, first_begin = 0, first_end = 0;
  // [position group of the chunk][synapse]: where its four corners are among the cells of each list; -1: they are not.
  std::vector<CornerPlaces> blended_corners, summed_corners;
};

struct CellChunk {
  int64_t channel, channels, map;
  int64_t weights, gradient_weights;  // where its weights stand, [cell][channel]: for forward; and mirrored for backward
  int64_t sums;                       // where its sums stand, [cell][channel]
};

template <class T>
class Cells {
 public:
  std::vector<CellMap> maps;
  std::vector<CellChunk> chunks;
  int64_t sums_size = 0;

  // weight: (C, 1, K), widened to a copy. Keeps the synapses' pointer.
  template <class E>
  Cells(const Plan& plan, const Synapse<T>* synapses, const E* weight)
      : geometry_(plan.geometry), synapses_(synapses), weight_(plan.geometry.channels * plan.geometry.synapses) {
    const Geometry& g = geometry_;
    for (int64_t i = 0; i < g.channels * g.synapses; ++i) weight_.data()[i] = widen(weight[i]);
    int64_t size = 0;
    for (int64_t c = 0; c < g.channels;) {
      int64_t channels = plan.sizes.vector;
      while (channels > g.channels - c) channels = narrower(channels);
      if (maps.empty() || g.position_groups > 1) maps.push_back(find_cells(c, channels));
      const CellMap& map = maps.back();
      const int64_t weights = map.blended_cells * channels;
      chunks.push_back({c, channels, static_cast<int64_t>(maps.size()) - 1, size, size + weights, sums_size});
      size += 2 * weights;
      sums_size += map.summed_cells * channels;
      c += channels;
    }
    weights_ = Buffer<T>(size);
    std::fill_n(weights_.data(), size, T(0));
    for (const CellChunk& chunk : chunks) fold_weight(chunk);
  }

  const T* weights(const CellChunk& chunk) const { return weights_.data() + chunk.weights; }
  const T* gradient_weights(const CellChunk& chunk) const { return weights_.data() + chunk.gradient_weights; }
  const T* weight_of(int64_t channel) const { return weight_.data() + channel * geometry_.synapses; }
  const Synapse<T>* synapses_of(int64_t channel) const { return synapses_ + group_of(channel) * geometry_.synapses; }

  // One of the four pixels around a position, for output pixel (0, 0).
  struct Corner {
    int64_t row, column;
    T share_y, share_x;

    bool has_share() const { return share_y != T(0) && share_x != T(0); }
  };

  Corner corner(const Synapse<T>& s, int64_t i) const {
    return {s.row + (i >> 1) - geometry_.padding.top, s.column + (i & 1) - geometry_.padding.left,
            i & 2 ? s.fraction_y : T(1) - s.fraction_y, i & 1 ? s.fraction_x : T(1) - s.fraction_x};
  }

  // From what a slot summed to the gradients that it hands on. weight: (C, 1, K), or null.
  void finish_sums(const T* sums, T* grad_weight, double* grad_positions) const {
    const Geometry& g = geometry_;
    for (const CellChunk& chunk : chunks) {
      for (int64_t channel = chunk.channel; channel < chunk.channel + chunk.channels; ++channel) {
        const int64_t group = group_of(channel);
        for (int64_t k = 0; k < g.synapses; ++k) {
          const Synapse<T>& s = synapses_of(channel)[k];
          double seen[4];
          for (int64_t i = 0; i < 4; ++i) {
            const int64_t cell = places_of(maps[chunk.map].summed_corners, chunk, channel)[k][i];
            seen[i] = cell < 0 ? 0 : sums[chunk.sums + cell * chunk.channels + channel - chunk.channel];
          }
          const double y = s.fraction_y, x = s.fraction_x;
          if (grad_weight != nullptr) {
            double sum = 0;
            for (int64_t i = 0; i < 4; ++i) {
              const double coefficient = (i & 2 ? y : 1 - y) * (i & 1 ? x : 1 - x);
              if (coefficient != 0) sum += coefficient * seen[i];
            }
            grad_weight[channel * g.synapses + k] = static_cast<T>(sum);
          }
          const double w = weight_of(channel)[k];
          double* to = grad_positions + 2 * (group * g.synapses + k);
          to[0] += w * ((1 - x) * (seen[2] - seen[0]) + x * (seen[3] - seen[1]));
          to[1] += w * ((1 - y) * (seen[1] - seen[0]) + y * (seen[3] - seen[2]));
        }
      }
    }
  }

 private:
  // Whether an output pixel may see a pixel of the image there.
  bool is_seen(const Corner& corner) const {
    const Geometry& g = geometry_;
    return corner.row < g.height && (g.out_height - 1) * g.stride.h + corner.row >= 0 && corner.column < g.width &&
           (g.out_width - 1) * g.stride.w + corner.column >= 0;
  }

  int64_t group_of(int64_t channel) const { return channel / (geometry_.channels / geometry_.position_groups); }

  // A channel's entries in a list by position group and synapse.
  const CornerPlaces* places_of(const std::vector<CornerPlaces>& places, const CellChunk& chunk, int64_t channel) const {
    return places.data() + (group_of(channel) - group_of(chunk.channel)) * geometry_.synapses;
  }

  // What is at each place of a box of cells.
  struct Box {
    int64_t row_begin, row_end, column_begin, column_end;
    std::vector<int64_t> places;

    int64_t& at(int64_t row, int64_t column) {
      return places[(row - row_begin) * (column_end - column_begin) + column - column_begin];
    }
  };

  CellMap find_cells(int64_t first_channel, int64_t channels) const {
    const int64_t first = group_of(first_channel), last = group_of(first_channel + channels - 1);
    const Synapse<T>* begin = synapses_ + first * geometry_.synapses;
    const int64_t count = (last - first + 1) * geometry_.synapses;
    Box box{INT64_MAX, INT64_MIN, INT64_MAX, INT64_MIN, {}};
    const auto over_corners = [&](const auto& f) {
      for (int64_t k = 0; k < count; ++k) {
        for (int64_t i = 0; i < 4; ++i) {
          const Corner here = corner(begin[k], i);
          if (is_seen(here)) f(k, i, here);
        }
      }
    };
    over_corners([&](int64_t, int64_t, const Corner& here) {
      box.row_begin = std::min(box.row_begin, here.row);
      box.row_end = std::max(box.row_end, here.row + 1);
      box.column_begin = std::min(box.column_begin, here.column);
      box.column_end = std::max(box.column_end, here.column + 1);
    });
    CellMap map;
    map.blended_corners.assign(count, {-1, -1, -1, -1});
    map.summed_corners = map.blended_corners;
    if (box.row_begin >= box.row_end) return map;
    const int64_t size = (box.row_end - box.row_begin) * (box.column_end - box.column_begin);
    box.places.assign(size, -1);
    over_corners([&](int64_t, int64_t, const Corner& here) {
      if (here.has_share()) box.at(here.row, here.column) = 0;
    });
    map.blended = cut_into_rows(box, map.blended_cells);
    over_corners([&](int64_t k, int64_t i, const Corner& here) {
      if (here.has_share()) map.blended_corners[k][i] = box.at(here.row, here.column);
    });
    over_corners([&](int64_t, int64_t, const Corner& here) { box.at(here.row, here.column) = 0; });
    map.summed = cut_into_rows(box, map.summed_cells);
    over_corners([&](int64_t k, int64_t i, const Corner& here) {
      map.summed_corners[k][i] = box.at(here.row, here.column);
    });
    map.row_begin = box.row_begin, map.row_end = box.row_end;
    map.first_begin = floor_quotient(box.column_begin, geometry_.stride.w);
    map.first_end = floor_quotient(box.column_end - 1, geometry_.stride.w) + 1;
    return map;
  }

  // Numbers the cells whose place is not -1, in the order of the rows.
  std::vector<CellRow> cut_into_rows(Box& box, int64_t& cells) const {
    const int64_t stride = geometry_.stride.w;
    std::vector<CellRow> rows;
    cells = 0;
    for (int64_t row = box.row_begin; row < box.row_end; ++row) {
      for (int64_t start = 0; start < std::min(stride, box.column_end - box.column_begin); ++start) {
        const std::size_t before = rows.size();
        int64_t next = INT64_MIN;
        for (int64_t column = box.column_begin + start; column < box.column_end; column += stride) {
          if (box.at(row, column) < 0) continue;
          box.at(row, column) = cells;
          if (rows.size() == before || column != next) {
            rows.push_back({row, floor_remainder(column, stride), floor_quotient(column, stride), 0, cells});
          }
          ++rows.back().length;
          ++cells;
          next = column + stride;
        }
      }
    }
    return cut_evenly(rows);
  }

  static std::vector<CellRow> cut_evenly(const std::vector<CellRow>& rows) {
    std::vector<CellRow> pieces;
    for (const CellRow& row : rows) {
      const int64_t count = ceil_div(row.length, kLongestCellRow);
      for (int64_t i = 0; i < count; ++i) {
        const int64_t begin = row.length * i / count, end = row.length * (i + 1) / count;
        pieces.push_back({row.row, row.remainder, row.first + begin, end - begin, row.cell + begin});
      }
    }
    return pieces;
  }

  // The weight of each cell, and the same with each row of cells mirrored.
  void fold_weight(const CellChunk& chunk) {
    const CellMap& map = maps[chunk.map];
    T* to = weights_.data() + chunk.weights;
    for (int64_t lane = 0; lane < chunk.channels; ++lane) {
      const int64_t channel = chunk.channel + lane;
      for (int64_t k = 0; k < geometry_.synapses; ++k) {
        for (int64_t i = 0; i < 4; ++i) {
          const int64_t cell = places_of(map.blended_corners, chunk, channel)[k][i];
          if (cell < 0) continue;
          const Corner here = corner(synapses_of(channel)[k], i);
          to[cell * chunk.channels + lane] += here.share_x * (here.share_y * weight_of(channel)[k]);
        }
      }
    }
    T* mirrored = weights_.data() + chunk.gradient_weights;
    for (const CellRow& row : map.blended) {
      for (int64_t i = 0; i < row.length; ++i) {
        std::copy_n(to + (row.cell + row.length - 1 - i) * chunk.channels, chunk.channels,
                    mirrored + (row.cell + i) * chunk.channels);
      }
    }
  }

  const Geometry& geometry_;
  const Synapse<T>* synapses_;
  Buffer<T> weight_;   // (C, 1, K)
  Buffer<T> weights_;  // of the cells
};

}  // namespace acu
