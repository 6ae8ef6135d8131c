// Backward: what follows from dCol, the gradient of the columns, which one GEMM gives. No atomics anywhere: every sum
// has one owner and one order, so the same input gives the same bits.
#pragma once

#include "columns.cuh"
#include "geometry.cuh"

namespace acu::cuda {

// Output pixels in channels_last rows of which some, next to each other, are at hand.
template <typename T>
struct OutputRows {
  const T* first;         // of the pixel first_pixel
  int64_t row_length;     // from a pixel to the next
  int64_t first_pixel;    // over all images
  int64_t pixels;
};

// The up to four output pixels that read an input pixel through one synapse: what stands there, all loaded before any of
// it is used, and what it counts. One that is not at hand counts 0.
template <typename T, int Width>
struct Readers {
  using A = Accumulator<T>;
  static constexpr int kCorners = 4;
  Pack<T, Width> packs[kCorners];
  A coefficients[kCorners];

  ACU_HOST_DEVICE Readers(const Geometry& geometry, const Displacement<A>& d, const OutputRows<T>& rows, int64_t image,
                          int y, int x) {
    int rows_of[2], columns_of[2];
    bool row_there[2], column_there[2];
    ACU_UNROLL
    for (int further = 0; further < 2; ++further) {
      row_there[further] = output_coordinate(y + geometry.pad_top - d.row - further, geometry.stride_h,
                                             geometry.out_height, rows_of[further]);
      column_there[further] = output_coordinate(x + geometry.pad_left - d.column - further, geometry.stride_w,
                                                geometry.out_width, columns_of[further]);
    }
    ACU_UNROLL
    for (int corner = 0; corner < kCorners; ++corner) {
      const int below = corner / 2, beside = corner % 2;
      packs[corner] = {};
      coefficients[corner] = A(0);
      if (!row_there[below] || !column_there[beside]) continue;
      const A coefficient = (below ? d.down : A(1) - d.down) * (beside ? d.right : A(1) - d.right);
      const int64_t row =
          (image * geometry.out_height + rows_of[below]) * geometry.out_width + columns_of[beside] - rows.first_pixel;
      if (coefficient == A(0) || row < 0 || row >= rows.pixels) continue;
      packs[corner] = load<T, Width>(rows.first + row * rows.row_length);
      coefficients[corner] = coefficient;
    }
  }

  ACU_HOST_DEVICE A blend(int v) const {
    A sum = A(0);
    ACU_UNROLL
    for (int corner = 0; corner < kCorners; ++corner) {
      sum += coefficients[corner] * static_cast<A>(packs[corner].values[v]);
    }
    return sum;
  }
};

// The input's gradient, gathered: the transpose of a constant shift is a constant shift, so each input element knows
// which columns read it. Body of a kernel: index = (pixel of the images) * (vectors in C) + vector.
template <typename T, typename Destination, int Width>
struct GatherInputGradient {
  using A = Accumulator<T>;
  Geometry geometry;
  const T* column_gradients;  // (pixels, segments, synapses, group_channels)
  const A* positions;         // (G, K, 2)
  Destination* grad_input;    // (N, H, W, C)
  int64_t first_pixel;        // of the output, over all images
  int64_t pixels;
  int64_t first_image;  // the first image that these output pixels belong to
  bool accumulate;      // an image's output pixels come in several calls

  ACU_HOST_DEVICE void operator()(int64_t index) const {
    const int vectors = geometry.channels / Width;
    const int64_t inside = index / vectors;
    const int channel = static_cast<int>(index - inside * vectors) * Width;
    const int64_t image_offset = inside / geometry.image_pixels();
    const int64_t image_pixel = inside - image_offset * geometry.image_pixels();
    const int y = static_cast<int>(image_pixel / geometry.width);
    const int x = static_cast<int>(image_pixel - int64_t{y} * geometry.width);
    const int64_t image = first_image + image_offset;

    const int group = channel / geometry.group_channels;
    const int segments = geometry.segments / geometry.groups;
    const T* gradients = column_gradients + (channel - group * geometry.group_channels);
    Destination* destination =
        grad_input + (image * geometry.image_pixels() + image_pixel) * geometry.channels + channel;

    A sum[Width];
    A poison = A(0);
    ACU_UNROLL
    for (int v = 0; v < Width; ++v) sum[v] = A(0);
    for (int segment = group * segments; segment < (group + 1) * segments; ++segment) {
      const A* position = positions + 2 * int64_t{geometry.position_group_of_segment(segment)} * geometry.synapses;
      for (int synapse = 0; synapse < geometry.synapses; ++synapse, position += 2) {
        const auto d = displacement(position);
        if (!d.is_finite()) poison = d.down + d.right;
        const int64_t entry = (int64_t{segment} * geometry.synapses + synapse) * geometry.group_channels;
        const OutputRows<T> rows{gradients + entry, geometry.row_length(), first_pixel, pixels};
        const Readers<T, Width> readers(geometry, d, rows, image, y, x);
        ACU_UNROLL
        for (int v = 0; v < Width; ++v) sum[v] += readers.blend(v);
      }
    }
    Pack<Destination, Width> result{};
    if (accumulate) result = load<Destination, Width>(destination);
    ACU_UNROLL
    for (int v = 0; v < Width; ++v) {
      const A before = accumulate ? static_cast<A>(result.values[v]) : A(0);
      result.values[v] = static_cast<Destination>(before + sum[v] + poison);
    }
    store<Destination, Width>(destination, result);
  }
};

// Rows [begin, end) of an image.
struct InputRows {
  int begin, end;
};

// The input rows that output rows [first, last] read, and those between. A position that is not finite reaches all.
template <typename A>
ACU_HOST_DEVICE InputRows rows_read(const Geometry& geometry, const A* positions, int first, int last) {
  int lowest = kFarAway, highest = -kFarAway;
  const int64_t synapses = int64_t{geometry.position_groups} * geometry.synapses;
  for (int64_t synapse = 0; synapse < synapses; ++synapse) {
    const auto d = displacement(positions + 2 * synapse);
    if (!d.is_finite()) return {0, geometry.height};
    if (d.row < lowest) lowest = d.row;
    if (d.row > highest) highest = d.row;
  }
  const int begin = first * geometry.stride_h - geometry.pad_top + lowest;
  const int end = last * geometry.stride_h - geometry.pad_top + highest + 2;
  const int inside = begin < 0 ? 0 : begin;
  return {inside, end < inside ? inside : end < geometry.height ? end : geometry.height};
}

// The input's gradient of a slice of one image, added to that of the slices before. Where the rows lie that it reaches
// only the positions say, which are on the device: so threads share out those rows and leave the others alone. Body of a
// kernel: index = thread.
template <typename T, int Width>
struct AddSliceToInputGradient {
  static constexpr int kBlocksEach = 2;
  GatherInputGradient<T, Accumulator<T>, Width> gather;
  int first_row;  // of the output
  int last_row;
  int64_t threads;

  ACU_HOST_DEVICE void operator()(int64_t index) const {
    const Geometry& geometry = gather.geometry;
    const InputRows rows = rows_read(geometry, gather.positions, first_row, last_row);
    const int64_t row_vectors = int64_t{geometry.width} * (geometry.channels / Width);
    for (int64_t vector = rows.begin * row_vectors + index; vector < rows.end * row_vectors; vector += threads) {
      gather(vector);
    }
  }
};

// The positions' gradient: each thread sums its own entry over its stretch of pixels. With KeepColumns it overwrites
// dCol by the column itself, which the weight's gradient needs next and whose corners are already at hand. Body of a
// kernel: index = stretch * (entries in a row) + entry; partial sums are [stretch][entry][y, x].
template <typename T, int Width, bool KeepColumns>
struct SumPositionGradients {
  using A = Accumulator<T>;
  Geometry geometry;
  const T* input;
  const A* positions;
  T* columns;  // dCol going in
  A* partial;
  int64_t first_pixel;
  int64_t pixels;
  int64_t stretch;
  bool accumulate;  // earlier slices have left their sums

  ACU_HOST_DEVICE void operator()(int64_t index) const {
    const int64_t entries = geometry.row_length() / Width;
    const int64_t stretch_index = index / entries;
    const int entry_index = static_cast<int>(index - stretch_index * entries);
    const Entry<Width> entry(geometry, entry_index);
    const auto d = displacement(positions + entry.position_index(geometry));
    const Coefficients<A> c(d);
    const int64_t begin = stretch_index * stretch;
    const int64_t end = begin + stretch < pixels ? begin + stretch : pixels;
    const T* channel = input + entry.input_channel(geometry);
    T* column = columns + begin * geometry.row_length() + int64_t{entry_index} * Width;
    A sum_y = accumulate ? load(partial + 2 * index) : A(0);
    A sum_x = accumulate ? load(partial + 2 * index + 1) : A(0);

    OutputPixel pixel(geometry, first_pixel + begin);
    for (int64_t row = begin; row < end; ++row, pixel.advance(geometry), column += geometry.row_length()) {
      const T* image = channel + pixel.image * geometry.image_pixels() * geometry.channels;
      const int y = pixel.centre_y(geometry) + d.row;
      const int x = pixel.centre_x(geometry) + d.column;
      const Corners<T, Width> corners(image, geometry, y, x);
      auto pack = load<T, Width>(column);
      ACU_UNROLL
      for (int v = 0; v < Width; ++v) {
        const A gradient = static_cast<A>(pack.values[v]);
        const Slopes<T, Width> slopes(corners, c, d, v);
        sum_y += gradient * slopes.by_y;
        sum_x += gradient * slopes.by_x;
        if constexpr (KeepColumns) pack.values[v] = static_cast<T>(slopes.column);
      }
      if constexpr (KeepColumns) store<T, Width>(column, pack);
    }
    store(partial + 2 * index, sum_y);
    store(partial + 2 * index + 1, sum_x);
  }
};

}  // namespace acu::cuda
