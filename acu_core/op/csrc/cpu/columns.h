// The column pass: what a synapse sees along one row of output pixels, by sliding along the row of the image; and in
// backward the same walk in reverse. A position is a constant of the layer, so the shift is constant along the row:
// no gather, and each blend of two image rows is used twice.
//
// Channels are innermost and go two vectors at a time: one cache line, for every pixel of the row, before the next.

#pragma once

#include <algorithm>

#include "vector.h"

namespace acu::ACU_INSTRUCTION_SET {

// One synapse along one row: output pixel j looks at columns first + j * stride and the one right of it, of the two
// image rows `upper` and `lower`, which are blended with `upper_share` and `lower_share`.
template <class T>
struct Walk {
  const T *upper, *lower;  // null when that row is outside the image or has no share
  T upper_share, lower_share, left_share, right_share;
  int64_t first, stride, pixels;  // pixels: of the output row
  int64_t width, pixel_step;      // of the image row: columns, and elements from one to the next
  int64_t column_step;            // elements from one pixel to the next in the column buffer
};

// Output pixels [begin, end) of a walk for which column first + j * stride + offset is inside the image.
struct Span {
  int64_t begin, end;
};

template <class T>
ACU_INLINE Span pixels_inside(const Walk<T>& walk, int64_t offset) {
  const int64_t before = -(walk.first + offset), behind = walk.width - (walk.first + offset);
  const int64_t begin = before <= 0 ? 0 : (before + walk.stride - 1) / walk.stride;
  const int64_t end = behind <= 0 ? 0 : (behind + walk.stride - 1) / walk.stride;
  return {begin < walk.pixels ? begin : walk.pixels, end < walk.pixels ? end : walk.pixels};
}

template <class T, class S, int VECTORS>
struct Pack {
  typename S::Vector v[VECTORS];
};

// ---------------------------------------------------------------------------------------------------- forward

// The blend of the two rows at one column.
template <class T, class S, int VECTORS, int ROWS>
ACU_INLINE Pack<T, S, VECTORS> blend_rows(const Walk<T>& walk, int64_t at) {
  Pack<T, S, VECTORS> out;
  for (int i = 0; i < VECTORS; ++i) {
    out.v[i] = walk.upper_share * load<S>(walk.upper + at + i * S::kLanes);
    if constexpr (ROWS == 2) out.v[i] += walk.lower_share * load<S>(walk.lower + at + i * S::kLanes);
  }
  return out;
}

template <class T, class S, int VECTORS>
ACU_INLINE void write_column(T* to, T share, const Pack<T, S, VECTORS>& value) {
  for (int i = 0; i < VECTORS; ++i) store<S>(to + i * S::kLanes, share * value.v[i]);
}

template <class T, class S, int VECTORS>
ACU_INLINE void clear_columns(T* to, int64_t begin, int64_t end, int64_t step) {
  for (int64_t j = begin; j < end; ++j) write_column<T, S, VECTORS>(to + j * step, T(0), Pack<T, S, VECTORS>{});
}

// ROWS: 1 when only `upper` counts. SLIDES: stride 1, so that the right column of a pixel is the left one of the next.
template <class T, class S, int VECTORS, int ROWS, bool SLIDES>
void build_columns(const Walk<T>& shared, int64_t channel, T* to) {
  const Walk<T> walk = shared;  // a copy of our own: for all the compiler knows, a store could change the shared one
  const auto at = [&](int64_t j) { return (walk.first + j * walk.stride) * walk.pixel_step + channel; };
  const auto blend = [&](int64_t offset) { return blend_rows<T, S, VECTORS, ROWS>(walk, offset); };
  const Span left = pixels_inside(walk, 0);
  if (walk.right_share == T(0)) {  // on the grid: the column to the right is not read, it may hold inf
    clear_columns<T, S, VECTORS>(to, 0, left.begin, walk.column_step);
    for (int64_t j = left.begin; j < left.end; ++j) {
      write_column<T, S, VECTORS>(to + j * walk.column_step, walk.left_share, blend(at(j)));
    }
    clear_columns<T, S, VECTORS>(to, left.end, walk.pixels, walk.column_step);
    return;
  }
  const Span right = pixels_inside(walk, 1);
  // From left to right: pixels that see nothing, only a right column, both, only a left one, nothing.
  clear_columns<T, S, VECTORS>(to, 0, right.begin, walk.column_step);
  for (int64_t j = right.begin; j < left.begin; ++j) {
    write_column<T, S, VECTORS>(to + j * walk.column_step, walk.right_share, blend(at(j) + walk.pixel_step));
  }
  if (left.begin < right.end) {
    Pack<T, S, VECTORS> here = blend(at(left.begin));
    for (int64_t j = left.begin; j < right.end; ++j) {
      if constexpr (!SLIDES) here = blend(at(j));
      const Pack<T, S, VECTORS> next = blend(at(j) + walk.pixel_step);
      for (int i = 0; i < VECTORS; ++i) {
        store<S>(to + j * walk.column_step + i * S::kLanes,
                 walk.left_share * here.v[i] + walk.right_share * next.v[i]);
      }
      if constexpr (SLIDES) here = next;
    }
  }
  for (int64_t j = right.end; j < left.end; ++j) {
    write_column<T, S, VECTORS>(to + j * walk.column_step, walk.left_share, blend(at(j)));
  }
  clear_columns<T, S, VECTORS>(to, left.end, walk.pixels, walk.column_step);
}

template <class T, class S, int VECTORS>
void build_columns(const Walk<T>& walk, int64_t channel, T* to) {
  const bool slides = walk.stride == 1;
  if (walk.lower != nullptr) {
    slides ? build_columns<T, S, VECTORS, 2, true>(walk, channel, to)
           : build_columns<T, S, VECTORS, 2, false>(walk, channel, to);
  } else {
    slides ? build_columns<T, S, VECTORS, 1, true>(walk, channel, to)
           : build_columns<T, S, VECTORS, 1, false>(walk, channel, to);
  }
}

// Columns of one synapse along one output row, for `channels` channels. Rows and columns without a share are not read.
template <class T>
void build_columns(Walk<T> walk, int64_t channels, T* to) {
  if (walk.upper == nullptr || walk.upper_share == T(0)) {
    walk.upper = walk.lower;
    walk.upper_share = walk.lower_share;
    walk.lower = nullptr;
  }
  if (walk.lower_share == T(0)) walk.lower = nullptr;
  if (walk.left_share == T(0)) {  // a fraction that rounded to 1
    walk.first += 1;
    walk.left_share = walk.right_share;
    walk.right_share = T(0);
  }
  if (walk.upper == nullptr || walk.upper_share == T(0)) {
    for (int64_t j = 0; j < walk.pixels; ++j) std::fill_n(to + j * walk.column_step, channels, T(0));
    return;
  }
  using S = Wide<T>;
  int64_t c = 0;
  for (; c + 2 * S::kLanes <= channels; c += 2 * S::kLanes) build_columns<T, S, 2>(walk, c, to + c);
  for (; c + S::kLanes <= channels; c += S::kLanes) build_columns<T, S, 1>(walk, c, to + c);
  for (; c < channels; ++c) build_columns<T, Narrow<T>, 1>(walk, c, to + c);
}

// --------------------------------------------------------------------------------------------------- backward

// Where a walk's gradients go. `upper` and `lower` are rows of the input's gradient; a row outside the image is a row
// of zeros in the walk and a row that nobody reads here, so that the walk need not ask.
template <class T>
struct WalkGradient {
  T *upper, *lower;
  T *sum_y, *sum_x;  // one vector each: the gradient of the position, to be summed over its lanes
};

// Reads the gradient of each column from the buffer, adds to the gradients of input and position, and leaves the
// column itself in the buffer, for the gradient of the weight. The derivative is the right-hand one throughout.
template <class T, class S, int VECTORS, bool SLIDES, bool NEED_INPUT>
void walk_back(const Walk<T>& shared_walk, const WalkGradient<T>& shared_gradient, int64_t channel, T* columns) {
  using V = typename S::Vector;
  const Walk<T> walk = shared_walk;  // copies of our own, as above
  const WalkGradient<T> gradient = shared_gradient;
  const Span left = pixels_inside(walk, 0), right = pixels_inside(walk, 1);
  const auto at = [&](int64_t j) { return (walk.first + j * walk.stride) * walk.pixel_step + channel; };
  V sum_y[VECTORS]{}, sum_x[VECTORS]{};

  const auto give = [&](T* row, int64_t where, int i, V value) { add_to<S>(row + where + i * S::kLanes, value); };
  // A pixel that sees the edge of the image: each of its two columns is asked for by itself.
  const auto at_edge = [&](int64_t j) {
    const bool has_left = j >= left.begin && j < left.end, has_right = j >= right.begin && j < right.end;
    const int64_t l = at(j), r = l + walk.pixel_step;
    for (int i = 0; i < VECTORS; ++i) {
      T* column = columns + j * walk.column_step + i * S::kLanes;
      const V d = load<S>(column);
      V here{}, next{}, step_here{}, step_next{};
      if (has_left) {
        const V u = load<S>(walk.upper + l + i * S::kLanes), w = load<S>(walk.lower + l + i * S::kLanes);
        here = walk.upper_share * u + walk.lower_share * w;
        step_here = w - u;
      }
      if (has_right) {
        const V u = load<S>(walk.upper + r + i * S::kLanes), w = load<S>(walk.lower + r + i * S::kLanes);
        next = walk.upper_share * u + walk.lower_share * w;
        step_next = w - u;
      }
      sum_x[i] += d * (next - here);
      sum_y[i] += d * (walk.left_share * step_here + walk.right_share * step_next);
      store<S>(column, walk.left_share * here + walk.right_share * next);
      if constexpr (NEED_INPUT) {
        if (has_left) {
          give(gradient.upper, l, i, walk.upper_share * walk.left_share * d);
          give(gradient.lower, l, i, walk.lower_share * walk.left_share * d);
        }
        if (has_right) {
          give(gradient.upper, r, i, walk.upper_share * walk.right_share * d);
          give(gradient.lower, r, i, walk.lower_share * walk.right_share * d);
        }
      }
    }
  };

  const int64_t both_begin = left.begin, both_end = right.end;
  for (int64_t j = 0; j < both_begin; ++j) at_edge(j);
  if (both_begin < both_end) {
    V here[VECTORS], step_here[VECTORS], carry[VECTORS]{};
    const auto look_left = [&](int64_t l) {
      for (int i = 0; i < VECTORS; ++i) {
        const V u = load<S>(walk.upper + l + i * S::kLanes), w = load<S>(walk.lower + l + i * S::kLanes);
        here[i] = walk.upper_share * u + walk.lower_share * w;
        step_here[i] = w - u;
      }
    };
    look_left(at(both_begin));
    for (int64_t j = both_begin; j < both_end; ++j) {
      const int64_t l = at(j), r = l + walk.pixel_step;
      if constexpr (!SLIDES) look_left(l);
      for (int i = 0; i < VECTORS; ++i) {
        const int64_t lane = i * S::kLanes;
        const V u = load<S>(walk.upper + r + lane), w = load<S>(walk.lower + r + lane);
        const V next = walk.upper_share * u + walk.lower_share * w, step_next = w - u;
        T* column = columns + j * walk.column_step + lane;
        const V d = load<S>(column);
        sum_x[i] += d * (next - here[i]);
        sum_y[i] += d * (walk.left_share * step_here[i] + walk.right_share * step_next);
        store<S>(column, walk.left_share * here[i] + walk.right_share * next);
        if constexpr (NEED_INPUT) {
          const V to_left = walk.left_share * d + carry[i];
          give(gradient.upper, l, i, walk.upper_share * to_left);
          give(gradient.lower, l, i, walk.lower_share * to_left);
          const V to_right = walk.right_share * d;
          if constexpr (SLIDES) {
            carry[i] = to_right;
          } else {
            give(gradient.upper, r, i, walk.upper_share * to_right);
            give(gradient.lower, r, i, walk.lower_share * to_right);
          }
        }
        here[i] = next;
        step_here[i] = step_next;
      }
    }
    if constexpr (NEED_INPUT && SLIDES) {
      const int64_t r = at(both_end - 1) + walk.pixel_step;
      for (int i = 0; i < VECTORS; ++i) {
        give(gradient.upper, r, i, walk.upper_share * carry[i]);
        give(gradient.lower, r, i, walk.lower_share * carry[i]);
      }
    }
  }
  for (int64_t j = both_end; j < walk.pixels; ++j) at_edge(j);
  for (int i = 0; i < VECTORS; ++i) {
    add_to<S>(gradient.sum_y, sum_y[i]);
    add_to<S>(gradient.sum_x, sum_x[i]);
  }
}

template <class T, class S, int VECTORS>
void walk_back(const Walk<T>& walk, const WalkGradient<T>& gradient, int64_t channel, T* columns) {
  const bool slides = walk.stride == 1, need_input = gradient.upper != nullptr;
  if (need_input) {
    slides ? walk_back<T, S, VECTORS, true, true>(walk, gradient, channel, columns)
           : walk_back<T, S, VECTORS, false, true>(walk, gradient, channel, columns);
  } else {
    slides ? walk_back<T, S, VECTORS, true, false>(walk, gradient, channel, columns)
           : walk_back<T, S, VECTORS, false, false>(walk, gradient, channel, columns);
  }
}

template <class T>
void walk_back(const Walk<T>& walk, const WalkGradient<T>& gradient, int64_t channels, T* columns) {
  using S = Wide<T>;
  int64_t c = 0;
  for (; c + 2 * S::kLanes <= channels; c += 2 * S::kLanes) walk_back<T, S, 2>(walk, gradient, c, columns + c);
  for (; c + S::kLanes <= channels; c += S::kLanes) walk_back<T, S, 1>(walk, gradient, c, columns + c);
  for (; c < channels; ++c) walk_back<T, Narrow<T>, 1>(walk, gradient, c, columns + c);
}

}  // namespace acu::ACU_INSTRUCTION_SET
