// Backward: what follows from dCol, the gradient of the columns, which one GEMM gives. No atomics anywhere: every sum
// has one owner and one order, so the same input gives the same bits.
#pragma once

#include "columns.cuh"
#include "geometry.cuh"

namespace acu::cuda {

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
        add_synapse(sum, d, gradients + entry, image, y, x);
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

  ACU_HOST_DEVICE void add_synapse(A (&sum)[Width], const Displacement<A>& d, const T* gradients, int64_t image, int y,
                                   int x) const {
    ACU_UNROLL
    for (int below = 0; below < 2; ++below) {
      int i;
      if (!output_coordinate(y + geometry.pad_top - d.row - below, geometry.stride_h, geometry.out_height, i)) continue;
      ACU_UNROLL
      for (int beside = 0; beside < 2; ++beside) {
        int j;
        if (!output_coordinate(x + geometry.pad_left - d.column - beside, geometry.stride_w, geometry.out_width, j))
          continue;
        const A coefficient = (below ? d.down : A(1) - d.down) * (beside ? d.right : A(1) - d.right);
        const int64_t row = (image * geometry.out_height + i) * geometry.out_width + j - first_pixel;
        if (coefficient == A(0) || row < 0 || row >= pixels) continue;
        const auto pack = load<T, Width>(gradients + row * geometry.row_length());
        ACU_UNROLL
        for (int v = 0; v < Width; ++v) sum[v] += coefficient * static_cast<A>(pack.values[v]);
      }
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

  ACU_HOST_DEVICE void operator()(int64_t index) const {
    const int64_t entries = geometry.row_length() / Width;
    const int64_t stretch_index = index / entries;
    const int entry_index = static_cast<int>(index - stretch_index * entries);
    const Entry<Width> entry(geometry, entry_index);
    const auto d = displacement(positions + entry.position_index(geometry));
    const Coefficients<A> c(d);
    const A up = A(1) - d.down, left = A(1) - d.right;
    const int64_t begin = stretch_index * stretch;
    const int64_t end = begin + stretch < pixels ? begin + stretch : pixels;
    const T* channel = input + entry.input_channel(geometry);
    T* column = columns + begin * geometry.row_length() + int64_t{entry_index} * Width;
    A sum_y = A(0), sum_x = A(0);

    OutputPixel pixel(geometry, first_pixel + begin);
    for (int64_t row = begin; row < end; ++row, pixel.advance(geometry), column += geometry.row_length()) {
      const T* image = channel + pixel.image * geometry.image_pixels() * geometry.channels;
      const int y = pixel.centre_y(geometry) + d.row;
      const int x = pixel.centre_x(geometry) + d.column;
      // On the grid all but the far corner take part: the derivative is the right-hand one, which looks at the next row
      // and column.
      using Corner = Corners<T, Width>;
      Corner corner;
      Corner::read(corner.top_left, image, geometry, y, x, true);
      Corner::read(corner.top_right, image, geometry, y, x + 1, true);
      Corner::read(corner.bottom_left, image, geometry, y + 1, x, true);
      Corner::read(corner.bottom_right, image, geometry, y + 1, x + 1, true);
      auto pack = load<T, Width>(column);
      ACU_UNROLL
      for (int v = 0; v < Width; ++v) {
        const A gradient = static_cast<A>(pack.values[v]);
        sum_y += gradient * (weighted(left, corner.bottom_left[v] - corner.top_left[v]) +
                             weighted(d.right, corner.bottom_right[v] - corner.top_right[v]));
        sum_x += gradient * (weighted(up, corner.top_right[v] - corner.top_left[v]) +
                             weighted(d.down, corner.bottom_right[v] - corner.bottom_left[v]));
        if constexpr (KeepColumns) {
          pack.values[v] = static_cast<T>(
              weighted(c.top_left, corner.top_left[v]) + weighted(c.top_right, corner.top_right[v]) +
              weighted(c.bottom_left, corner.bottom_left[v]) + weighted(c.bottom_right, corner.bottom_right[v]));
        }
      }
      if constexpr (KeepColumns) store<T, Width>(column, pack);
    }
    store(partial + 2 * index, sum_y);
    store(partial + 2 * index + 1, sum_x);
  }
};

// One level of the reduction over stretches: a fixed number of neighbours is summed in order, so three short launches
// replace a block-wide reduction with its barriers. Body of a kernel: index = (group of stretches) * width + place.
constexpr int64_t kFoldedStretches = 64;

template <typename A>
struct FoldStretches {
  const A* source;  // (stretches, width)
  A* folded;        // (ceil(stretches / kFoldedStretches), width)
  int64_t stretches;
  int64_t width;

  ACU_HOST_DEVICE void operator()(int64_t index) const {
    const int64_t folded_stretch = index / width;
    const int64_t place = index - folded_stretch * width;
    const int64_t begin = folded_stretch * kFoldedStretches;
    const int64_t end = begin + kFoldedStretches < stretches ? begin + kFoldedStretches : stretches;
    A sum = A(0);
    for (int64_t stretch = begin; stretch < end; ++stretch) sum += load(source + stretch * width + place);
    store(folded + index, sum);
  }
};

// The last level: over the channels of a synapse and the segments that share its positions, added to what earlier
// slices gave. Body of a kernel: index = (position group * synapses + synapse) * 2 + axis.
template <typename A>
struct AddPositionGradients {
  Geometry geometry;
  const A* folded;  // (segments, synapses, vectors, 2)
  A* grad_positions;
  int vectors;  // of a convolution group's channels

  ACU_HOST_DEVICE void operator()(int64_t index) const {
    const int64_t axis = index % 2;
    const int64_t synapse = (index / 2) % geometry.synapses;
    const int64_t position_group = index / 2 / geometry.synapses;
    const int64_t segments = geometry.segments / geometry.position_groups;
    A sum = A(0);
    for (int64_t segment = position_group * segments; segment < (position_group + 1) * segments; ++segment) {
      const A* entry = folded + 2 * (segment * geometry.synapses + synapse) * vectors + axis;
      for (int vector = 0; vector < vectors; ++vector) sum += load(entry + 2 * vector);
    }
    store(grad_positions + index, load(grad_positions + index) + sum);
  }
};

// Sums a slice's weight gradient into the running one, which is float32 for 16-bit weights.
template <typename T>
struct AddSlice {
  const T* slice;
  Accumulator<T>* total;

  ACU_HOST_DEVICE void operator()(int64_t index) const {
    store(total + index, load(total + index) + static_cast<Accumulator<T>>(load(slice + index)));
  }
};

}  // namespace acu::cuda
