// Depthwise convolutions (a group for every channel, one output each), in cells (cells.h): no columns, no matrix product. A
// chunk of channels of the rows in use is copied to the first-level cache, a vector for each pixel, with zeros around; what
// remains are correlations with few cells, held in registers.

#pragma once

#include <algorithm>

#include "cells.h"
#include "transpose.h"

namespace acu::ACU_INSTRUCTION_SET {

// Memory that grows to what is asked for.
template <class T>
class Scratch {
 public:
  T* at_least(int64_t size) {
    if (size > size_) {
      buffer_ = Buffer<T>(size);
      size_ = size;
    }
    return buffer_.data();
  }

 private:
  Buffer<T> buffer_;
  int64_t size_ = 0;
};

// Pixels of an image. Columns may be counted in strides, and may lie beyond it.
struct Region {
  int64_t row_begin, row_end, column_begin, column_end;

  bool empty() const { return row_begin >= row_end || column_begin >= column_end; }
};

// Chunks of channels of an image, or of a part of it: their elements for pixel p begin at data + (p - first) * step.
template <class T>
struct Plane {
  T* data;
  int64_t step, first;

  T* at(int64_t pixel) const { return data + (pixel - first) * step; }
};

// So many chunks from `channel` on of pixels [first, first + count) of image n of a tensor, to read: in the contiguous
// layout, where it is one chunk, and of 16 bits a copy.
template <class T, class S>
Plane<const T> chunks_to_read(const void* tensor, int64_t n, int64_t channel, int64_t chunks, int64_t channels,
                              int64_t pixels, Layout layout, int64_t first, int64_t count, Scratch<T>& copy) {
  const int64_t together = chunks * S::kLanes;
  const int64_t begin = layout.channels_last ? n * pixels * channels + channel : (n * channels + channel) * pixels;
  if (layout.element == Element::kOwn && (layout.channels_last || S::kLanes == 1)) {
    return {static_cast<const T*>(tensor) + begin, layout.channels_last ? channels : 1, 0};
  }
  T* to = copy.at_least(count * together);
  with_elements<T>(layout.element, tensor, [&](const auto* values) {
    if (!layout.channels_last) {
      transpose(S::kLanes, count, values + begin + first, pixels, to, S::kLanes);
      return;
    }
    const auto* from = values + begin + first * channels;
    for (int64_t p = 0; p < count; ++p) copy_elements(from + p * channels, together, to + p * together);
  });
  return {to, together, first};
}

// Rows of an image for a few chunks of channels, zeros beside them: [chunk][row][remainder][column][lane], where columns are
// counted in strides and those with the same remainder stand together. So every walk takes one step a pixel.
template <class T>
class PaddedRows {
 public:
  void lay_out(const Region& region, int64_t stride, int64_t chunks, int64_t lanes) {
    region_ = region, stride_ = stride, lanes_ = lanes;
    chunk_step_ = std::max<int64_t>(region.row_end - region.row_begin, 0) * stride * columns() * lanes;
    data_ = scratch_.at_least(chunks * chunk_step_);
  }

  // From chunk `first` on, so many chunks that stand next to each other in the image: whole lines of the cache are read.
  template <class S>
  void fill(const Plane<const T>& image, int64_t width, int64_t first, int64_t chunks) {
    T* to = data_ + first * chunk_step_;
    for (int64_t y = region_.row_begin; y < region_.row_end; ++y) {
      for (int64_t remainder = 0; remainder < stride_; ++remainder, to += columns() * S::kLanes) {
        const int64_t present = (width - remainder + stride_ - 1) / stride_;
        const int64_t begin = std::clamp<int64_t>(-region_.column_begin, 0, columns());
        const int64_t end = std::clamp<int64_t>(present - region_.column_begin, begin, columns());
        for (int64_t i = 0; i < columns(); ++i) {
          if (i == begin) i = end;
          if (i >= columns()) break;
          for (int64_t c = 0; c < chunks; ++c) store<S>(to + c * chunk_step_ + i * S::kLanes, typename S::Vector{});
        }
        if (begin == end) continue;
        const T* from = image.at(y * width + (region_.column_begin + begin) * stride_ + remainder);
        for (int64_t i = begin; i < end; ++i, from += stride_ * image.step) {
          for (int64_t c = 0; c < chunks; ++c) store<S>(to + c * chunk_step_ + i * S::kLanes, load<S>(from + c * S::kLanes));
        }
      }
    }
  }

  // Of the first chunk; those of the others are `chunk_step` elements apart.
  const T* at(int64_t row, int64_t remainder, int64_t column) const {
    return data_ + (((row - region_.row_begin) * stride_ + remainder) * columns() + column - region_.column_begin) * lanes_;
  }
  int64_t chunk_step() const { return chunk_step_; }

 private:
  int64_t columns() const { return region_.column_end - region_.column_begin; }

  Scratch<T> scratch_;
  T* data_ = nullptr;
  Region region_{};
  int64_t stride_ = 1, lanes_ = 1, chunk_step_ = 0;
};

// A row of cells where a row of pixels looks: what its pixel 0 sees there, for the first chunk, and the place of its weights.
template <class T>
struct Look {
  const T* from;
  int64_t weights, length;
};

// ------------------------------------------------------------------------------------------------ blend of cells

// Pixels that go together, with one vector of sums each. Two for the channels that are left over, to keep the code small.
template <class T, class S>
constexpr int kPixelsTogether = std::is_same_v<S, Wide<T>> ? 8 : 2;

// sums[p] += sum over the row's cells l of weights[l] * from[p + l]
template <class T, class S, int PIXELS, int LENGTH>
ACU_INLINE void add_cells(typename S::Vector (&sums)[PIXELS], const T* from, const T* weights) {
  typename S::Vector factors[LENGTH];
#pragma GCC unroll 8
  for (int l = 0; l < LENGTH; ++l) factors[l] = load<S>(weights + l * S::kLanes);
#pragma GCC unroll 16
  for (int i = 0; i < PIXELS + LENGTH - 1; ++i) {
    const typename S::Vector value = load<S>(from + i * S::kLanes);
#pragma GCC unroll 8
    for (int l = 0; l < LENGTH; ++l) {
      if (i - l >= 0 && i - l < PIXELS) sums[i - l] += factors[l] * value;
    }
  }
}

// Writes `PIXELS` pixels, which look `shift` elements behind the first pixel of the first chunk; each begins with `start`. `check` gets 0 * result: NaN when that is not
// finite.
template <class T, class S, int PIXELS>
void blend_pixels(const Look<T>* looks, int64_t count, int64_t shift, const T* chunk_weights, const T* start, T* check,
                  T* to, int64_t step) {
  static_assert(kLongestCellRow == 5);
  typename S::Vector sums[PIXELS];
#pragma GCC unroll 8
  for (int p = 0; p < PIXELS; ++p) sums[p] = load<S>(start);
  for (int64_t i = 0; i < count; ++i) {
    const T *from = looks[i].from + shift, *weights = chunk_weights + looks[i].weights;
    switch (looks[i].length) {
      case 1: add_cells<T, S, PIXELS, 1>(sums, from, weights); break;
      case 2: add_cells<T, S, PIXELS, 2>(sums, from, weights); break;
      case 3: add_cells<T, S, PIXELS, 3>(sums, from, weights); break;
      case 4: add_cells<T, S, PIXELS, 4>(sums, from, weights); break;
      default: add_cells<T, S, PIXELS, 5>(sums, from, weights); break;
    }
  }
  typename S::Vector zero{};
#pragma GCC unroll 8
  for (int p = 0; p < PIXELS; ++p) {
    store<S>(to + p * step, sums[p]);
    zero += sums[p] * T(0);
  }
  add_to<S>(check, zero);
}

template <class T, class S, int PIXELS>
ACU_INLINE void blend_so_many(int64_t pixels, const Look<T>* looks, int64_t count, int64_t shift, const T* weights,
                              const T* start, T* check, T* to, int64_t step) {
  if constexpr (PIXELS > 0) {
    if (pixels == PIXELS) {
      blend_pixels<T, S, PIXELS>(looks, count, shift, weights, start, check, to, step);
    } else {
      blend_so_many<T, S, PIXELS - 1>(pixels, looks, count, shift, weights, start, check, to, step);
    }
  }
}

// How many of a row's pixels go together: even pieces. A division, so asked once for all rows of a tile.
template <class T, class S>
int64_t pixels_together(int64_t pixels) {
  return ceil_div(pixels, ceil_div(pixels, kPixelsTogether<T, S>));
}

// A row of pixels of one chunk: to[j * step] = start + sum over all cells of their weights times what pixel j sees there.
template <class T, class S>
void blend_row(const std::vector<Look<T>>& looks, int64_t pixels, int64_t together, int64_t shift, const T* weights,
               const T* start, T* check, T* to, int64_t step) {
  for (int64_t j = 0; j < pixels; j += together) {
    blend_so_many<T, S, kPixelsTogether<T, S>>(std::min(together, pixels - j), looks.data(),
                                               static_cast<int64_t>(looks.size()), shift + j * S::kLanes, weights, start,
                                               check, to + j * step, step);
  }
}

// -------------------------------------------------------------------------------------------------- sums of cells

// Where a row of cells meets a row of the output: what its pixel 0 sees at the first of them, and its gradient; for the
// first chunk.
template <class T>
struct Meeting {
  const T *image, *gradient;
};

// sums[l] += sum over all pixels p of gradient[p] * image[p + l]. A few pixels at a time, each with sums of its own: as
// many independent chains as hide the latency.
template <class T, class S, int LENGTH>
void sum_cells(const std::vector<Meeting<T>>& meetings, int64_t pixels, int64_t image_shift, int64_t gradient_shift, T* to) {
  constexpr int kPixels = LENGTH >= 4 ? 2 : LENGTH == 3 ? 3 : 4;
  typename S::Vector sums[kPixels][LENGTH]{};
  for (const Meeting<T>& meeting : meetings) {
    const T *image = meeting.image + image_shift, *gradient = meeting.gradient + gradient_shift;
    int64_t left = pixels;
    for (; left >= kPixels; left -= kPixels, image += kPixels * S::kLanes, gradient += kPixels * S::kLanes) {
      typename S::Vector d[kPixels];
#pragma GCC unroll 8
      for (int p = 0; p < kPixels; ++p) d[p] = load<S>(gradient + p * S::kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < kPixels + LENGTH - 1; ++i) {
        const typename S::Vector value = load<S>(image + i * S::kLanes);
#pragma GCC unroll 8
        for (int p = 0; p < kPixels; ++p) {
          if (i - p >= 0 && i - p < LENGTH) sums[p][i - p] += d[p] * value;
        }
      }
    }
    for (; left > 0; --left, image += S::kLanes, gradient += S::kLanes) {
      const typename S::Vector d = load<S>(gradient);
#pragma GCC unroll 8
      for (int l = 0; l < LENGTH; ++l) sums[0][l] += d * load<S>(image + l * S::kLanes);
    }
  }
#pragma GCC unroll 8
  for (int l = 0; l < LENGTH; ++l) {
#pragma GCC unroll 8
    for (int p = 1; p < kPixels; ++p) sums[0][l] += sums[p][l];
    add_to<S>(to + l * S::kLanes, sums[0][l]);
  }
}

template <class T, class S>
void sum_cells(int64_t length, const std::vector<Meeting<T>>& meetings, int64_t pixels, int64_t image_shift,
               int64_t gradient_shift, T* to) {
  switch (length) {
    case 1: sum_cells<T, S, 1>(meetings, pixels, image_shift, gradient_shift, to); break;
    case 2: sum_cells<T, S, 2>(meetings, pixels, image_shift, gradient_shift, to); break;
    case 3: sum_cells<T, S, 3>(meetings, pixels, image_shift, gradient_shift, to); break;
    case 4: sum_cells<T, S, 4>(meetings, pixels, image_shift, gradient_shift, to); break;
    default: sum_cells<T, S, 5>(meetings, pixels, image_shift, gradient_shift, to); break;
  }
}

}  // namespace acu::ACU_INSTRUCTION_SET
