// The column pass: what a synapse sees along one row of output pixels, by sliding along the row of the image; and in
// backward the same walk in reverse. A position is a constant of the layer, so the shift is constant along the row:
// no gather, and each blend of two image rows is used twice.
//
// Channels are innermost and go a chunk at a time: a panel (with AVX2 one cache line), fewer at the end. A chunk
// visits all rows and synapses of the tile before the next chunk, so that the few image rows in use (2 KiB each at 32
// pixels) stay in the first-level cache, and only the column buffer comes from the second.
//
// The column buffer is [panel][pixel][kPanel]: a walk writes lines that follow each other, and the products read them so.

#pragma once

#include <algorithm>

#include "plan.h"
#include "vector.h"

namespace acu::ACU_INSTRUCTION_SET {

// Output pixels [begin, end) of a walk for which a column of the image is inside it.
struct Span {
  int64_t begin, end;
};

// One synapse along a row of output pixels: pixel j looks at columns first + j * stride and the one right of it.
// The same for every row of a tile.
template <class T>
struct Walk {
  T upper_share, lower_share, left_share, right_share;
  int64_t first, stride, pixels;  // pixels: of the output row
  int64_t width, pixel_step;      // of the image row: columns, and elements from one to the next
  int64_t buffer_step;            // of the column buffer: elements from one pixel to the next
  Span left, right;               // pixels whose left and whose right column are inside the image
  bool mirrored = false;          // see mirror() (geometry.h)

  void find_spans() {
    left = pixels_inside(0);
    right = pixels_inside(1);
  }

 private:
  Span pixels_inside(int64_t offset) const {
    const int64_t before = -(first + offset), behind = width - (first + offset);
    const int64_t begin = before <= 0 ? 0 : (before + stride - 1) / stride;
    const int64_t end = behind <= 0 ? 0 : (behind + stride - 1) / stride;
    return {std::min(begin, pixels), std::min(end, pixels)};
  }
};

// Channels that go together: VECTORS vectors of S.
template <class Lanes, int VECTORS>
struct Chunk {
  using S = Lanes;
  static constexpr int kVectors = VECTORS;
};

// Calls f(Chunk, first channel): a panel at a time, then a vector, then what is narrower. The same chunks as chunk_channels
// (plan.h), by which the weight is packed.
template <class T, class F>
ACU_INLINE void over_chunks(int64_t channels, const F& f) {
  using S = Wide<T>;
  int64_t c = 0;
  for (; c + kPanel<T> <= channels; c += kPanel<T>) f(Chunk<S, kPanelVectors>{}, c);
  for (; c + S::kLanes <= channels; c += S::kLanes) f(Chunk<S, 1>{}, c);
  if constexpr (S::kLanes > 8) {
    for (; c + Half<T>::kLanes <= channels; c += Half<T>::kLanes) f(Chunk<Half<T>, 1>{}, c);
  }
  if constexpr (S::kLanes > 4) {
    for (; c + 4 <= channels; c += 4) f(Chunk<Four<T>, 1>{}, c);
  }
  for (; c < channels; ++c) f(Chunk<Narrow<T>, 1>{}, c);
}

// Where the columns of the chunk of channels at `c` and of a synapse begin in the column buffer, for the tile's first pixel.
// Both count from the block's first.
template <class T, class S, int VECTORS>
ACU_INLINE T* columns_of(Chunk<S, VECTORS>, const Plan& plan, const Block& block, int64_t c, int64_t k, T* columns) {
  const int64_t column = c * block.synapses() + k * VECTORS * S::kLanes;
  return columns + column / kPanel<T> * plan.panel_step() + column % kPanel<T>;
}

template <class S, int VECTORS>
struct Pack {
  typename S::Vector v[VECTORS];
};

template <class T, class S, int VECTORS>
ACU_INLINE void write_column(T* to, T share, const Pack<S, VECTORS>& value) {
  for (int i = 0; i < VECTORS; ++i) store<S>(to + i * S::kLanes, share * value.v[i]);
}

template <class T, class S, int VECTORS>
ACU_INLINE void clear_columns(T* to, int64_t step, int64_t begin, int64_t end) {
  for (int64_t j = begin; j < end; ++j) write_column<T, S, VECTORS>(to + j * step, T(0), {});
}

// ---------------------------------------------------------------------------------------------------- forward

// The two image rows of a walk, at the chunk's first channel, and how they are blended. A row outside the image or
// without a share is never read, it may hold inf: the one that counts is then `upper`, and `lower` is null.
template <class T>
struct RowPair {
  const T *upper, *lower;
  T upper_share, lower_share;

  RowPair(const Walk<T>& walk, const T* above, const T* below)
      : upper(above), lower(below), upper_share(walk.upper_share), lower_share(walk.lower_share) {
    if (lower_share == T(0)) lower = nullptr;
    if (upper_share == T(0)) upper = nullptr;
    if (upper == nullptr) {
      upper = lower;
      upper_share = lower_share;
      lower = nullptr;
    }
  }
};

// On the grid the column to the right is not read; when a fraction rounded to 1, neither is the one to the left.
template <class T>
Walk<T> without_columns_of_no_share(Walk<T> walk) {
  if (walk.left_share == T(0)) {
    walk.first += 1;
    walk.left_share = walk.right_share;
    walk.right_share = T(0);
    walk.find_spans();
  }
  return walk;
}

// One row of pixels. ROWS: 1 when only `upper` counts. SLIDES: stride 1, so that the right column of a pixel is the left
// one of the next.
template <class T, class S, int VECTORS, int ROWS, bool SLIDES>
ACU_INLINE void build_row(const Walk<T>& walk, const RowPair<T>& rows, T* to) {
  const auto at = [&](int64_t j) { return (walk.first + j * walk.stride) * walk.pixel_step; };
  const auto blend = [&](int64_t offset) {
    Pack<S, VECTORS> out;
    for (int i = 0; i < VECTORS; ++i) {
      out.v[i] = rows.upper_share * load<S>(rows.upper + offset + i * S::kLanes);
      if constexpr (ROWS == 2) out.v[i] += rows.lower_share * load<S>(rows.lower + offset + i * S::kLanes);
    }
    return out;
  };
  const Span left = walk.left, right = walk.right;
  const int64_t step = walk.buffer_step;
  if (walk.right_share == T(0)) {
    clear_columns<T, S, VECTORS>(to, step, 0, left.begin);
    for (int64_t j = left.begin; j < left.end; ++j) {
      write_column<T, S, VECTORS>(to + j * step, walk.left_share, blend(at(j)));
    }
    clear_columns<T, S, VECTORS>(to, step, left.end, walk.pixels);
    return;
  }
  // From left to right: pixels that see nothing, only a right column, both, only a left one, nothing.
  clear_columns<T, S, VECTORS>(to, step, 0, right.begin);
  for (int64_t j = right.begin; j < left.begin; ++j) {
    write_column<T, S, VECTORS>(to + j * step, walk.right_share, blend(at(j) + walk.pixel_step));
  }
  const auto write = [&](int64_t j, const Pack<S, VECTORS>& here, const Pack<S, VECTORS>& next) {
    for (int i = 0; i < VECTORS; ++i) {
      store<S>(to + j * step + i * S::kLanes, walk.left_share * here.v[i] + walk.right_share * next.v[i]);
    }
  };
  int64_t j = left.begin;
  if constexpr (SLIDES) {
    if (j < right.end) {
      Pack<S, VECTORS> here = blend(at(j));
      for (; j + 2 <= right.end; j += 2) {
        const Pack<S, VECTORS> next = blend(at(j) + walk.pixel_step);
        write(j, here, next);
        here = blend(at(j) + 2 * walk.pixel_step);
        write(j + 1, next, here);
      }
      if (j < right.end) write(j, here, blend(at(j) + walk.pixel_step));
    }
  } else {
    for (; j < right.end; ++j) write(j, blend(at(j)), blend(at(j) + walk.pixel_step));
  }
  for (int64_t j = right.end; j < left.end; ++j) {
    write_column<T, S, VECTORS>(to + j * step, walk.left_share, blend(at(j)));
  }
  clear_columns<T, S, VECTORS>(to, step, left.end, walk.pixels);
}

// `count` rows of pixels that look at image rows `image_step` elements apart: what a walk has to work out beforehand takes
// as long as a row of a few pixels.
template <class T, class S, int VECTORS, int ROWS, bool SLIDES>
void build_rows(const Walk<T>& shared_walk, RowPair<T> rows, int64_t count, int64_t image_step, T* to) {
  // A copy of our own: for all the compiler knows, a store could change the shared one.
  const Walk<T> walk = shared_walk;
  for (; count > 0; --count, to += walk.pixels * walk.buffer_step) {
    build_row<T, S, VECTORS, ROWS, SLIDES>(walk, rows, to);
    rows.upper += image_step;
    if constexpr (ROWS == 2) rows.lower += image_step;
  }
}

// The columns of one synapse along `count` output rows, for a chunk of channels.
template <class T, class S, int VECTORS>
ACU_INLINE void build_columns(Chunk<S, VECTORS>, const Walk<T>& walk, const RowPair<T>& rows, int64_t count,
                              int64_t image_step, T* to) {
  const bool slides = walk.stride == 1;
  if (rows.upper == nullptr) {
    clear_columns<T, S, VECTORS>(to, walk.buffer_step, 0, count * walk.pixels);
  } else if (rows.lower != nullptr) {
    slides ? build_rows<T, S, VECTORS, 2, true>(walk, rows, count, image_step, to)
           : build_rows<T, S, VECTORS, 2, false>(walk, rows, count, image_step, to);
  } else {
    slides ? build_rows<T, S, VECTORS, 1, true>(walk, rows, count, image_step, to)
           : build_rows<T, S, VECTORS, 1, false>(walk, rows, count, image_step, to);
  }
}

// --------------------------------------------------------------------------------------------------- backward

// The image rows of a walk, at the chunk's first channel, and the rows of the input's gradient (null when that is not
// needed). A row outside the image is a row of zeros to read and a row that nobody reads to write, so that the walk need
// not ask. The sums: the gradient of the position, of each channel by itself.
template <class T>
struct WalkBack {
  const T *upper, *lower;
  T *upper_gradient, *lower_gradient;
  T *sum_y, *sum_x;
};

// Reads the gradient of each column from the buffer, adds to the gradients of input and position, and leaves the
// column itself in the buffer, for the gradient of the weight. The derivative is the right-hand one throughout.
//
// With e the gradient of a blend of two rows (what the pixels that see it give it), the position's y gradient is e times
// the step from row to row, and the input's gradient is e spread on the two rows: one e serves both.
//
// VECTORS vectors of channels go at a time, as many as registers hold what one pixel hands to the next.
template <class T, class S, int VECTORS, bool NEED_INPUT, bool MIRRORED = false>
struct BackwardStep {
  using V = typename S::Vector;
  const WalkBack<T> rows;
  const T upper_share, lower_share, left_share, right_share;
  V sum_y[VECTORS]{}, sum_x[VECTORS]{};

  // Results by reference: GCC copies a structure of vectors through memory.
  ACU_INLINE void look(int i, int64_t where, V& blend, V& down) const {
    where += i * S::kLanes;
    const V upper = load<S>(rows.upper + where);
    const V lower = load<S>(rows.lower + where);
    down = lower - upper;
    blend = between(upper, lower, upper_share, lower_share, down);
  }

  // Counted from the pixel that has all of the share where the position is an integer: no other rounds it away.
  ACU_INLINE V between(V first, V second, T first_share, T second_share, V difference) const {
    if constexpr (MIRRORED) return second - first_share * difference;
    return first + second_share * difference;
  }

  ACU_INLINE void give(int i, int64_t where, V e) const {
    if constexpr (NEED_INPUT) {
      where += i * S::kLanes;
      store<S>(rows.upper_gradient + where, load<S>(rows.upper_gradient + where) + upper_share * e);
      store<S>(rows.lower_gradient + where, load<S>(rows.lower_gradient + where) + lower_share * e);
    }
  }

  ACU_INLINE void finish() const {
#pragma GCC unroll 4
    for (int i = 0; i < VECTORS; ++i) {
      add_to<S>(rows.sum_y + i * S::kLanes, sum_y[i]);
      add_to<S>(rows.sum_x + i * S::kLanes, sum_x[i]);
    }
  }
};

// Stride 1: the right column of a pixel is the left one of the next. Pixels come in this order: those that see nothing,
// at most one that sees only a right column, those that see both, at most one that sees only a left one, nothing.
template <class T, class S, int VECTORS, bool NEED_INPUT, bool MIRRORED = false>
void slide_back(const Walk<T>& walk, const WalkBack<T>& rows, T* columns) {
  using V = typename S::Vector;
  BackwardStep<T, S, VECTORS, NEED_INPUT, MIRRORED> step{rows, walk.upper_share, walk.lower_share, walk.left_share,
                                                         walk.right_share};
  const Span left = walk.left, right = walk.right;
  const int64_t pixel_step = walk.pixel_step, buffer_step = walk.buffer_step;
  int64_t j = std::min(left.begin, right.begin), at = (walk.first + left.begin) * pixel_step;
  clear_columns<T, S, VECTORS>(columns, walk.buffer_step, 0, j);
  T* column = columns + j * walk.buffer_step;
  // Of the column that is the next pixel's left one, and what the pixel before gave it.
  V here[VECTORS]{}, down[VECTORS]{}, carry[VECTORS]{};
  if (right.begin < left.begin) {
#pragma GCC unroll 4
    for (int i = 0; i < VECTORS; ++i) {
      const V d = load<S>(column + i * S::kLanes);
      step.look(i, at, here[i], down[i]);
      step.sum_x[i] += d * here[i];
      carry[i] = step.right_share * d;
      store<S>(column + i * S::kLanes, step.right_share * here[i]);
    }
    ++j, column += buffer_step;
  } else if (left.begin < left.end) {
#pragma GCC unroll 4
    for (int i = 0; i < VECTORS; ++i) step.look(i, at, here[i], down[i]);
  }
  for (; j < right.end; ++j, column += buffer_step, at += pixel_step) {
#pragma GCC unroll 4
    for (int i = 0; i < VECTORS; ++i) {
      V next, next_down;
      step.look(i, at + pixel_step, next, next_down);
      const V d = load<S>(column + i * S::kLanes), across = next - here[i];
      step.sum_x[i] += d * across;
      store<S>(column + i * S::kLanes, step.between(here[i], next, step.left_share, step.right_share, across));
      const V e = step.left_share * d + carry[i];
      step.sum_y[i] += e * down[i];
      step.give(i, at, e);
      carry[i] = step.right_share * d;
      here[i] = next;
      down[i] = next_down;
    }
  }
  if (right.begin < right.end || left.begin < left.end) {
#pragma GCC unroll 4
    for (int i = 0; i < VECTORS; ++i) {
      V e = carry[i];
      if (right.end < left.end) {
        const V d = load<S>(column + i * S::kLanes);
        step.sum_x[i] -= d * here[i];
        store<S>(column + i * S::kLanes, step.between(here[i], V{}, step.left_share, step.right_share, -here[i]));
        e += step.left_share * d;
      }
      step.sum_y[i] += e * down[i];
      step.give(i, at, e);
    }
  }
  clear_columns<T, S, VECTORS>(columns, walk.buffer_step, std::max(left.end, right.end), walk.pixels);
  step.finish();
}

// Any stride: each of the two columns of a pixel is asked for by itself.
template <class T, class S, int VECTORS, bool NEED_INPUT>
void stride_back(const Walk<T>& walk, const WalkBack<T>& rows, T* columns) {
  using V = typename S::Vector;
  BackwardStep<T, S, VECTORS, NEED_INPUT> step{rows, walk.upper_share, walk.lower_share, walk.left_share,
                                                 walk.right_share};
  const Span left = walk.left, right = walk.right;
  int64_t at = walk.first * walk.pixel_step;
  for (int64_t j = 0; j < walk.pixels; ++j, at += walk.stride * walk.pixel_step, columns += walk.buffer_step) {
    const bool has_left = j >= left.begin && j < left.end, has_right = j >= right.begin && j < right.end;
    if (!has_left && !has_right) {
      // Not read: where a tile sees nothing, no product was written.
      clear_columns<T, S, VECTORS>(columns, walk.buffer_step, 0, 1);
      continue;
    }
#pragma GCC unroll 4
    for (int i = 0; i < VECTORS; ++i) {
      const V d = load<S>(columns + i * S::kLanes), to_right = step.right_share * d, to_left = step.left_share * d;
      V here{}, next{}, down;
      if (has_left) {
        step.look(i, at, here, down);
        step.sum_y[i] += to_left * down;
        step.give(i, at, to_left);
      }
      if (has_right) {
        step.look(i, at + walk.pixel_step, next, down);
        step.sum_y[i] += to_right * down;
        step.give(i, at + walk.pixel_step, to_right);
      }
      step.sum_x[i] += d * (next - here);
      store<S>(columns + i * S::kLanes, here + step.right_share * (next - here));
    }
  }
  step.finish();
}

template <class T, class S, int VECTORS>
ACU_INLINE void walk_back(Chunk<S, VECTORS>, const Walk<T>& walk, WalkBack<T> rows, T* columns) {
  constexpr int kTogether = VECTORS % ACU_WALK_VECTORS == 0 ? ACU_WALK_VECTORS : 1;
  const bool need_input = rows.upper_gradient != nullptr;
  for (int i = 0; i < VECTORS; i += kTogether, columns += kTogether * S::kLanes) {
    if (walk.stride == 1) {
      need_input      ? slide_back<T, S, kTogether, true>(walk, rows, columns)
      : walk.mirrored ? slide_back<T, S, kTogether, false, true>(walk, rows, columns)
                      : slide_back<T, S, kTogether, false>(walk, rows, columns);
    } else {
      need_input ? stride_back<T, S, kTogether, true>(walk, rows, columns)
                 : stride_back<T, S, kTogether, false>(walk, rows, columns);
    }
    constexpr int64_t kStep = kTogether * S::kLanes;
    rows.upper += kStep;
    rows.lower += kStep;
    rows.sum_y += kStep;
    rows.sum_x += kStep;
    if (need_input) {
      rows.upper_gradient += kStep;
      rows.lower_gradient += kStep;
    }
  }
}

}  // namespace acu::ACU_INSTRUCTION_SET
