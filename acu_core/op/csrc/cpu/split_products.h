// The three products of the operator in tile registers, from floats that are split (split.h). What the tile's pixels do not see
// is multiplied too.

#pragma once

#include "micro_kernel.h"
#include "problem.h"
#include "split_sides.h"
#include "transpose.h"

namespace acu::ACU_INSTRUCTION_SET {

// Of one thread: its tile registers, and what it has split.
class SplitProducts {
 public:
  explicit SplitProducts(const ForwardProblem<float>& problem) : plan_(problem.plan), weight_(problem.split_weight) {
    for (Buffer<uint16_t>& rows : rows_) rows = Buffer<uint16_t>(kRowTiles * side_size(plan_.widest_block));
  }

  explicit SplitProducts(const BackwardProblem<float>& problem) : plan_(problem.plan), weight_(problem.split_weight) {
    int64_t outputs = 0;
    for (const SegmentPlan& part : plan_.segments) outputs = std::max(outputs, part.outputs());
    const int64_t pixels = plan_.largest_tile();
    pixel_tiles_ = ceil_div(pixels, kTileSide);
    gradient_ = Buffer<uint16_t>(pixel_tiles_ * side_size(outputs));
    for (Buffer<uint16_t>& columns : columns_) columns = Buffer<uint16_t>(2 * side_size(pixels));
    pairs_ = Buffer<uint16_t>(side_size(pixels));
    transposed_ = Buffer<uint16_t>(ceil_div(outputs, kTileSide) * side_size(pixels));
  }

  // Forward: out (pixels x outputs) (+)= columns (pixels x depth) * weight (depth x outputs).
  template <Result RESULT>
  void columns_to_outputs(const SegmentPlan& part, const Block& block, int64_t pixels, const Sight&, const float* columns,
                          float* out, PixelRows place) {
    const int64_t outputs = part.outputs(), depth = block.columns();
    const Side right = packed_side(weight_ + block.split_offset, depth);
    int64_t first = 0;
    const int64_t tiles = ceil_div(outputs, kTileSide);
    const auto narrow = [&](auto sums) {
      constexpr int64_t kTogether = sums.kRows * kTileSide;
      for (; first + kTogether <= pixels; first += kTogether) {
        narrow_product<RESULT>(sums, depth, columns, first, right, out + first * place.step, outputs, place.step);
      }
    };
    if (tiles == 2) narrow(NarrowSums<2, 2>{});
    if (tiles == 3) narrow(NarrowSums<2, 3>{});
    if (tiles == 4) narrow(NarrowSums<1, 4>{});
    const auto split = [&](int64_t p, uint16_t* to) {
      const int64_t rows = std::min(pixels - p, kRows);
      split_rows(rows, depth, kPanel<float>, kRowTiles, [&](int64_t v) { return in_buffer(columns, p, v); }, to);
    };
    if (first < pixels) split(first, rows_[0].data());
    for (int64_t p = first, turn = 0; p < pixels; p += kRows, turn = 1 - turn) {
      const int64_t rows = std::min(pixels - p, kRows), next = p + kRows;
      const bool is_next_whole = next + kRows <= pixels;
      uint16_t* const to_next = rows_[1 - turn].data();
      const Side left = rows_side(rows_[turn].data(), kRowTiles);
      // While the tile registers multiply, the vector units split the next rows.
      SplitBeside beside{plan_, columns + next * kPanel<float>, to_next, is_next_whole ? depth / kTileDepth : 0};
      over_tile_sums(ceil_div(rows, kTileSide), ceil_div(outputs, kTileSide), [&](auto sums, int64_t i, int64_t j) {
        float* to = out + (p + i * kTileSide) * place.step + j * kTileSide;
        multiply<RESULT>(sums, depth, left.from(i), right.from(j), rows - i * kTileSide, outputs - j * kTileSide, place.step,
                         [&](int64_t row, int64_t tile) { return to + row * place.step + tile * kTileSide; }, beside);
      });
      if (is_next_whole) {
        beside.finish();
        const int64_t whole = depth / kTileDepth, part = kRowTiles * kTileElements;
        split_end(kRows, depth, kPanel<float>, [&](int64_t v) { return in_buffer(columns, next, v); }, 2 * whole,
                  to_next + whole * kParts * part, part);
      } else if (next < pixels) {
        split(next, to_next);
      }
    }
  }

  // Backward, for the next two: the gradient of a tile's pixels and a segment's outputs.
  void take_gradient(const SegmentPlan& part, int64_t pixels, const float* gradient, PixelRows place, bool need_weight) {
    const int64_t outputs = part.outputs(), step = place.step;
    split_rows(pixels, outputs, step, pixel_tiles_, [&](int64_t v) { return gradient + v * kTileSide; }, gradient_.data());
    FiniteCheck check = check_;
    for (int64_t p = 0; p < pixels; ++p) {
      for (int64_t o = 0; o < outputs; o += kTileSide) check.look_at_parts(load_first(gradient + p * step + o, outputs - o));
    }
    check_ = check;
    uint16_t* to = transposed_.data();
    for (int64_t o = 0; need_weight && o < outputs; o += kTileSide) {
      split_some<HalfStep::kLeft>(pixels, gradient + o, step, outputs - o, pairs_.data());
      for (int64_t tile = 0; tile < side_size(pixels); tile += kTileElements, to += kTileElements) {
        transpose_pairs(pairs_.data() + tile, to);
      }
    }
  }

  // Before the walk: gradient of the columns (pixels x columns) = gradient (pixels x outputs) * weight^T.
  void gradient_to_columns(const SegmentPlan& part, const Block& block, int64_t pixels, const Sight&, float* buffer) {
    const int64_t outputs = part.outputs(), tiles = ceil_div(block.columns(), kTileSide);
    const Side left = rows_side(gradient_.data(), pixel_tiles_);
    const Side right = packed_side(weight_ + block.split_transposed_offset, outputs);
    const auto place = [&](int64_t row, int64_t v) { return in_buffer(buffer, row, v); };
    // Where the depth is short, whole panels of whole tiles of pixels.
    const int64_t rows = pixels / kTileSide;
    int64_t panels_end = 0;
    for (; outputs <= kShallowDepth && panels_end + kPanelVectors <= tiles; panels_end += kPanelVectors) {
      ShallowSums<kPanelVectors>::multiply(rows, outputs, left, right.from(panels_end), kPanel<float>,
                                           [&](int64_t i, int64_t j) { return place(i * kTileSide, panels_end + j); });
    }
    // The rest: as many columns at a time as take half of the first-level cache, while the pixels pass.
    const int64_t most = std::max<int64_t>(24 * 1024 / (2 * side_size(outputs)) / 2 * 2, 2);
    const auto multiply_rest = [&](int64_t first_row, int64_t first, int64_t end) {
      for (; first < end; first += most) {
        const int64_t together = std::min(most, end - first);
        over_tile_sums(ceil_div(pixels, kTileSide) - first_row, together, [&](auto sums, int64_t i, int64_t j) {
          const int64_t tile_row = first_row + i, row = tile_row * kTileSide, v = first + j;
          multiply<Result::kStore>(sums, outputs, left.from(tile_row), right.from(v), pixels - row, 2 * kTileSide,
                                   kPanel<float>, [&](int64_t r, int64_t tile) { return place(row + r, v + tile); });
        });
      }
    };
    multiply_rest(rows, 0, panels_end);
    multiply_rest(0, panels_end, tiles);
  }

  // After the walk: gradient of the weight (outputs x columns) += gradient^T * columns, in the layout of the transposed weight.
  void columns_to_weight(const SegmentPlan& part, const Block& block, int64_t pixels, const Sight&, const float* buffer,
                         float* grad_weight) {
    const int64_t outputs = part.outputs(), tiles = ceil_div(block.columns(), kTileSide), whole = pixels / kTileDepth;
    const Side left = packed_side(transposed_.data(), pixels);
    const auto split = [&](int64_t first, int64_t row, uint16_t* to) {
      for (int64_t v = first; v < std::min(first + 2, tiles); ++v, to += side_size(pixels)) {
        split_some<HalfStep::kRight>(pixels - row, in_buffer(buffer, row, v), kPanel<float>, block.columns() - v * kTileSide,
                                     to + side_size(row));
      }
    };
    split(0, 0, columns_[0].data());
    for (int64_t first = 0, turn = 0; first < tiles; first += 2, turn = 1 - turn) {
      const int64_t next = first + 2;
      const bool is_next_whole = (next + 2) * kTileSide <= block.columns();
      uint16_t* const to_next = columns_[1 - turn].data();
      const Side right = packed_side(columns_[turn].data(), pixels);
      ColumnsBeside beside{{in_buffer(buffer, 0, next), in_buffer(buffer, 0, next + 1)},
                           {to_next, to_next + side_size(pixels)},
                           is_next_whole ? whole : 0};
      over_tile_sums(ceil_div(outputs, kTileSide), std::min<int64_t>(2, tiles - first), [&](auto sums, int64_t i, int64_t j) {
        const int64_t o = i * kTileSide;
        multiply<Result::kAdd>(sums, pixels, left.from(i), right.from(j), outputs - o, 2 * kTileSide, kPanel<float>,
                               [&](int64_t row, int64_t tile) {
          const int64_t v = first + j + tile;
          return grad_weight + (v / kPanelVectors * outputs + o + row) * kPanel<float> + v % kPanelVectors * kTileSide;
        }, beside);
      });
      beside.finish();
      split(next, is_next_whole ? whole * kTileDepth : 0, to_next);
    }
  }

  // Whether all that was multiplied is finite; if not, what was computed from it is nothing.
  bool are_finite() const { return check_.is_good(); }

 private:
  using S = Wide<float>;

  // Tiles of pixels that forward splits before it multiplies.
  static constexpr int64_t kRowTiles = 2, kRows = kRowTiles * kTileSide;

  // Where a pixel's vector v of columns stands in the column buffer.
  template <class T>
  T* in_buffer(T* buffer, int64_t pixel, int64_t v) const {
    return vector_of(plan_, buffer, v) + pixel * kPanel<float>;
  }

  // That of the first pixel.
  template <class T>
  static ACU_INLINE T* vector_of(const Plan& plan, T* buffer, int64_t v) {
    return buffer + v / kPanelVectors * plan.panel_step() + v % kPanelVectors * kTileSide;
  }

  // The whole steps of kRows rows of columns, split a few rows at a time.
  struct SplitBeside {
    const Plan& plan;
    const float* columns;  // of the first row
    uint16_t* to;
    int64_t steps;
    int64_t step = 0, row = 0;
    const float *low = columns, *high = columns + kTileSide;

    template <int PRODUCTS>
    ACU_INLINE void do_some() {
      static_assert(kRows % PRODUCTS == 0);
      if (step == steps) return;
#pragma GCC unroll 4
      for (int i = 0; i < PRODUCTS; ++i, low += kPanel<float>, high += kPanel<float>, to += kTileDepth) {
        write_step(load<S>(low), load<S>(high), to, kRowTiles * kTileElements);
      }
      if ((row += PRODUCTS) < kRows) return;
      row = 0;
      ++step;
      to += (kParts - 1) * kRowTiles * kTileElements;
      low = vector_of(plan, columns, 2 * step);
      high = vector_of(plan, columns, 2 * step + 1);
    }

    ACU_INLINE void finish() {
      while (step < steps) do_some<1>();
    }
  };

  // The whole steps of two tiles of columns with pixels as depth, a few pixels at a time: a step of one, then of the other.
  struct ColumnsBeside {
    const float* from[2];
    uint16_t* to[2];
    int64_t steps;
    int64_t step = 0, row = 0;
    bool second = false;

    template <int PRODUCTS>
    ACU_INLINE void do_some() {
      static_assert(kTileSide % PRODUCTS == 0);
      if (step == steps) return;
#pragma GCC unroll 4
      for (int i = 0; i < PRODUCTS; ++i) {
        write_step(load<S>(from[0]), load<S>(from[0] + kTileSide * kPanel<float>), to[0], kTileElements);
        from[0] += kPanel<float>, to[0] += kTileDepth;
      }
      if ((row += PRODUCTS) < kTileSide) return;
      row = 0;
      from[0] += kTileSide * kPanel<float>, to[0] += (kParts - 1) * kTileElements;
      std::swap(from[0], from[1]), std::swap(to[0], to[1]);
      second = !second;
      if (!second) ++step;
    }

    ACU_INLINE void finish() {
      while (step < steps) do_some<1>();
    }
  };

  // Rows of columns, from `pixel` on, times a weight that is few tiles wide. The vector units split a step while the tile
  // registers multiply the one before.
  template <Result RESULT, class Sums>
  ACU_INLINE void narrow_product(Sums, int64_t depth, const float* columns, int64_t pixel, Side right, float* out,
                                 int64_t outputs, int64_t row_length) {
    constexpr int kTiles = Sums::kRows;
    constexpr int64_t kTogether = kTiles * kTileSide, kPart = kTiles * kTileElements;
    const int64_t whole = depth / kTileDepth, steps = whole_steps(depth);
    uint16_t *now = rows_[0].data(), *next = now + kParts * kPart;
    const auto split = [&](int64_t step, uint16_t* to) {
      split_end(kTogether, depth, kPanel<float>, [&](int64_t v) { return in_buffer(columns, pixel, v); }, 2 * step, to, kPart);
    };
    if (whole > 0) {
      write_steps(kTogether, in_buffer(columns, pixel, 0), in_buffer(columns, pixel, 1), kPanel<float>, now, kPart);
    } else {
      split(0, now);
    }
    Sums::clear();
    for (int64_t step = 0; step < steps; ++step, right.tiles += right.step, std::swap(now, next)) {
      if (step + 1 < whole) {
        const float* low = in_buffer(columns, pixel, 2 * step + 2);
        const float* high = in_buffer(columns, pixel, 2 * step + 3);
        Sums::add_step(now, right, [&](auto turn) __attribute__((always_inline)) {
          // 16 rows in six turns: three in the first four, then two.
          constexpr bool kThree = turn < 4 * kTiles;
          constexpr int kFirst = kThree ? 3 * turn : 4 * kTiles + 2 * turn, kCount = kThree ? 3 : 2;
#pragma GCC unroll 3
          for (int row = kFirst; row < kFirst + kCount; ++row) {
            write_step(load<S>(low + row * kPanel<float>), load<S>(high + row * kPanel<float>), next + row * kTileDepth, kPart);
          }
        });
      } else {
        Sums::add_step(now, right, [](auto) {});
        split(step + 1, next);
      }
    }
    if (ends_with_half(depth)) Sums::add_half_step(now, right);
    Sums::store(kTileSide, [&](int64_t i, int64_t j) { return results_ + (i * Sums::kColumns + j) * kTileSide * kTileSide; });
    for (int64_t i = 0; i < kTiles; ++i) {
      for (int64_t j = 0; j < Sums::kColumns; ++j) {
        put<RESULT>(results_ + (i * Sums::kColumns + j) * kTileSide * kTileSide, kTileSide, outputs - j * kTileSide,
                    out + i * kTileSide * row_length + j * kTileSide, row_length, check_);
      }
    }
  }

  // split_columns of 16 columns, or of as many as there are.
  template <HalfStep HALF>
  static ACU_INLINE void split_some(int64_t depth, const float* from, int64_t step, int64_t present, uint16_t* to) {
    if (present >= kTileSide) {
      split_columns<HALF>(depth, to, [&](int64_t row) { return load<S>(from + row * step); });
    } else {
      split_columns<HALF>(depth, to, [&](int64_t row) { return load_first(from + row * step, present); });
    }
  }

  static ACU_INLINE void transpose_pairs(const uint16_t* from, uint16_t* to) {
    S::Vector square[S::kLanes];
#pragma GCC unroll 16
    for (int64_t i = 0; i < S::kLanes; ++i) square[i] = load<S>(reinterpret_cast<const float*>(from + i * kTileDepth));
    transpose_in_registers<S>(square);
#pragma GCC unroll 16
    for (int64_t i = 0; i < S::kLanes; ++i) store<S>(reinterpret_cast<float*>(to + i * kTileDepth), square[i]);
  }

  // A product to results_, and from there tile by tile, as many of whose rows and columns as there are, to place(row, column).
  template <Result RESULT, class Sums, class Place>
  ACU_INLINE void multiply(Sums sums, int64_t depth, const Side& left, const Side& right, int64_t rows, int64_t columns,
                           int64_t step, const Place& place) {
    Nothing nothing;
    multiply<RESULT>(sums, depth, left, right, rows, columns, step, place, nothing);
  }

  template <Result RESULT, class Sums, class Place, class Beside>
  ACU_INLINE void multiply(Sums sums, int64_t depth, const Side& left, const Side& right, int64_t rows, int64_t columns,
                           int64_t step, const Place& place, Beside& beside) {
    sums.multiply(depth, left, right, unread_, beside);
    const auto result = [&](int64_t i, int64_t j) { return results_ + (i * sums.kColumns + j) * kTileSide * kTileSide; };
    sums.store(kTileSide, result);
    for (int64_t i = 0; i < sums.kRows; ++i) {
      for (int64_t j = 0; j < sums.kColumns; ++j) {
        put<RESULT>(result(i, j), std::min(rows - i * kTileSide, kTileSide), columns - j * kTileSide,
                    place(i * kTileSide, j), step, check_);
      }
    }
  }

  template <Result RESULT>
  static __attribute__((noinline)) void put(const float* tile, int64_t rows, int64_t columns, float* to, int64_t step,
                                            FiniteCheck& shared) {
    FiniteCheck check = shared;  // in a register
    for (int64_t row = 0; row < rows; ++row, tile += kTileSide, to += step) {
      S::Vector value = load<S>(tile);
      check.look_at(value);
      if (columns >= kTileSide) {
        if constexpr (RESULT == Result::kAdd) value += load<S>(to);
        store<S>(to, value);
      } else {
        for (int64_t i = 0; i < columns; ++i) to[i] = RESULT == Result::kAdd ? to[i] + tile[i] : tile[i];
      }
    }
    shared = check;
  }

  const Plan& plan_;
  const uint16_t* weight_;
  TileRegisters registers_;
  FiniteCheck check_;
  int64_t pixel_tiles_ = 0;
  Buffer<uint16_t> rows_[2];                        // forward's: columns of a few tiles of pixels, and of the next
  Buffer<uint16_t> columns_[2];                     // backward's: two tiles of columns, and the next two
  Buffer<uint16_t> gradient_, pairs_, transposed_;  // a left side with pixels as rows, and one with outputs as rows
  alignas(64) float results_[6 * kTileSide * kTileSide];
  alignas(64) uint16_t unread_[kTileElements];
};

}  // namespace acu::ACU_INSTRUCTION_SET
