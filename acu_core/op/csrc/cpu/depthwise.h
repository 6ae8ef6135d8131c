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

// A chunk of channels of an image, or of a part of it: its elements for pixel p begin at data + (p - first) * step.
template <class T>
struct Plane {
  T* data;
  int64_t step, first;

  T* at(int64_t pixel) const { return data + (pixel - first) * step; }
};

// The chunk at `channel` of pixels [first, first + count) of image n of a tensor, to read: in the contiguous layout a copy.
template <class T, class S>
Plane<const T> chunk_to_read(const T* tensor, int64_t n, int64_t channel, int64_t channels, int64_t pixels, bool channels_last,
                             int64_t first, int64_t count, Scratch<T>& copy) {
  if (channels_last) return {tensor + n * pixels * channels + channel, channels, 0};
  const T* plane = tensor + (n * channels + channel) * pixels;
  if (S::kLanes == 1) return {plane, 1, 0};
  T* to = copy.at_least(count * S::kLanes);
  transpose(S::kLanes, count, plane + first, pixels, to, S::kLanes);
  return {to, S::kLanes, first};
}

// The same to write; `send_home` must follow.
template <class T, class S>
Plane<T> chunk_to_write(T* tensor, int64_t n, int64_t channel, int64_t channels, int64_t pixels, bool channels_last,
                        int64_t first, int64_t count, Scratch<T>& copy) {
  if (channels_last) return {tensor + n * pixels * channels + channel, channels, 0};
  if (S::kLanes == 1) return {tensor + (n * channels + channel) * pixels, 1, 0};
  return {copy.at_least(count * S::kLanes), S::kLanes, first};
}

template <class T, class S>
void send_home(const Plane<T>& chunk, T* tensor, int64_t n, int64_t channel, int64_t channels, int64_t pixels,
               bool channels_last, int64_t first, int64_t count) {
  if (channels_last || S::kLanes == 1) return;
  transpose(count, S::kLanes, chunk.at(first), S::kLanes, tensor + (n * channels + channel) * pixels + first, pixels);
}

// Rows of an image for a chunk of channels, zeros beside it: [row][remainder][column][lane], where columns are counted in
// strides and those with the same remainder stand together. So every walk takes one step a pixel.
template <class T>
class PaddedRows {
 public:
  template <class S>
  void fill(Plane<const T> image, int64_t width, int64_t row_begin, int64_t row_end, int64_t stride, int64_t column_begin,
            int64_t column_end) {
    row_begin_ = row_begin, stride_ = stride, column_begin_ = column_begin;
    columns_ = column_end - column_begin;
    T* to = scratch_.at_least(std::max<int64_t>(row_end - row_begin, 0) * stride * columns_ * S::kLanes);
    data_ = to;
    const auto clear = [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) store<S>(to + i * S::kLanes, typename S::Vector{});
    };
    for (int64_t y = row_begin; y < row_end; ++y) {
      for (int64_t remainder = 0; remainder < stride; ++remainder, to += columns_ * S::kLanes) {
        const int64_t present = (width - remainder + stride - 1) / stride;
        const int64_t begin = std::clamp<int64_t>(-column_begin, 0, columns_);
        const int64_t end = std::clamp<int64_t>(present - column_begin, begin, columns_);
        clear(0, begin);
        const T* from = begin < end ? image.at(y * width + (column_begin + begin) * stride + remainder) : nullptr;
        for (int64_t i = begin; i < end; ++i) store<S>(to + i * S::kLanes, load<S>(from + (i - begin) * stride * image.step));
        clear(end, columns_);
      }
    }
  }

  template <class S>
  const T* at(int64_t row, int64_t remainder, int64_t column) const {
    return data_ + (((row - row_begin_) * stride_ + remainder) * columns_ + column - column_begin_) * S::kLanes;
  }

 private:
  Scratch<T> scratch_;
  const T* data_ = nullptr;
  int64_t row_begin_ = 0, stride_ = 1, column_begin_ = 0, columns_ = 0;
};

// A row of cells where an output pixel's row looks, for its pixel 0.
template <class T>
struct Look {
  const T *from, *weights;
  int64_t length;
};

template <class T, std::size_t LANES>
bool all_zero(const T (&values)[LANES]) {
  return std::all_of(values, values + LANES, [](T value) { return value == T(0); });
}

// ------------------------------------------------------------------------------------------------ blend of cells

// Pixels that go together, with one vector of sums each.
template <class T, class S>
constexpr int kPixelsTogether = std::is_same_v<S, Wide<T>> ? 8 : 4;

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

// Writes `PIXELS` pixels, from pixel j on, each beginning with `start`. `check` gets 0 * result: NaN when that is not
// finite.
template <class T, class S, int PIXELS>
void blend_pixels(const Look<T>* looks, int64_t count, int64_t j, const T* start, T* check, T* to, int64_t step) {
  static_assert(kLongestCellRow == 5);
  typename S::Vector sums[PIXELS];
#pragma GCC unroll 8
  for (int p = 0; p < PIXELS; ++p) sums[p] = load<S>(start);
  for (int64_t i = 0; i < count; ++i) {
    const T *from = looks[i].from + j * S::kLanes, *weights = looks[i].weights;
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
ACU_INLINE void blend_so_many(int64_t pixels, const Look<T>* looks, int64_t count, int64_t j, const T* start, T* check,
                              T* to, int64_t step) {
  if constexpr (PIXELS > 0) {
    if (pixels == PIXELS) {
      blend_pixels<T, S, PIXELS>(looks, count, j, start, check, to, step);
    } else {
      blend_so_many<T, S, PIXELS - 1>(pixels, looks, count, j, start, check, to, step);
    }
  }
}

// A row of pixels: to[j * step] = start + sum over all cells of their weights times what pixel j sees there.
template <class T, class S>
void blend_row(const std::vector<Look<T>>& looks, int64_t pixels, const T* start, T* check, T* to, int64_t step) {
  constexpr int kMost = kPixelsTogether<T, S>;
  const int64_t together = ceil_div(pixels, ceil_div(pixels, kMost));
  for (int64_t j = 0; j < pixels; j += together) {
    blend_so_many<T, S, kMost>(std::min(together, pixels - j), looks.data(), static_cast<int64_t>(looks.size()), j, start,
                               check, to + j * step, step);
  }
}

// -------------------------------------------------------------------------------------------------- sums of cells

// Where a row of cells meets a row of the output: what its pixel 0 sees at the first of them, and its gradient.
template <class T>
struct Meeting {
  const T *image, *gradient;
};

// sums[l] += sum over all pixels p of gradient[p] * image[p + l]. A few pixels at a time, each with sums of its own: as
// many independent chains as hide the latency.
template <class T, class S, int LENGTH>
void sum_cells(const std::vector<Meeting<T>>& meetings, int64_t pixels, T* to) {
  constexpr int kPixels = LENGTH >= 4 ? 2 : LENGTH == 3 ? 3 : 4;
  typename S::Vector sums[kPixels][LENGTH]{};
  for (const Meeting<T>& meeting : meetings) {
    const T *image = meeting.image, *gradient = meeting.gradient;
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
void sum_cells(int64_t length, const std::vector<Meeting<T>>& meetings, int64_t pixels, T* to) {
  switch (length) {
    case 1: sum_cells<T, S, 1>(meetings, pixels, to); break;
    case 2: sum_cells<T, S, 2>(meetings, pixels, to); break;
    case 3: sum_cells<T, S, 3>(meetings, pixels, to); break;
    case 4: sum_cells<T, S, 4>(meetings, pixels, to); break;
    default: sum_cells<T, S, 5>(meetings, pixels, to); break;
  }
}

}  // namespace acu::ACU_INSTRUCTION_SET
