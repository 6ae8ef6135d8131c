// Columns: what each output pixel reads, interpolated, as the matrix that the GEMM multiplies with the weights.
//
// The matrix is [pixels][segment][synapse][channel], so that neighbouring threads read and write neighbouring channels
// of a channels_last image. A thread keeps one entry (segment, synapse, channels) and walks over a stretch of pixels:
// positions are constants of the layer, so floor, fraction and the four coefficients are computed once a thread, not once
// a pixel as in deformable convolution.
#pragma once

#include "geometry.cuh"

namespace acu::cuda {

template <typename A>
struct Coefficients {
  A top_left, top_right, bottom_left, bottom_right;

  explicit ACU_HOST_DEVICE Coefficients(const Displacement<A>& d)
      : top_left((A(1) - d.down) * (A(1) - d.right)),
        top_right((A(1) - d.down) * d.right),
        bottom_left(d.down * (A(1) - d.right)),
        bottom_right(d.down * d.right) {}
};

// The four corners around a sampled point as they lie in memory; those outside the image or not wanted are 0. They are
// converted once all four are there: a conversion waits for its load, and would keep the next load waiting as well.
template <typename T, int Width>
struct Corners {
  using A = Accumulator<T>;
  Pack<T, Width> top_left, top_right, bottom_left, bottom_right;

  // All four, for a derivative: on the grid it is the right-hand one, which looks at the next row and column.
  ACU_HOST_DEVICE Corners(const T* channel, const Geometry& geometry, int y, int x)
      : top_left(read(channel, geometry, y, x, true)),
        top_right(read(channel, geometry, y, x + 1, true)),
        bottom_left(read(channel, geometry, y + 1, x, true)),
        bottom_right(read(channel, geometry, y + 1, x + 1, true)) {}

  // Those that count.
  ACU_HOST_DEVICE Corners(const T* channel, const Geometry& geometry, int y, int x, const Coefficients<A>& c)
      : top_left(read(channel, geometry, y, x, c.top_left != A(0))),
        top_right(read(channel, geometry, y, x + 1, c.top_right != A(0))),
        bottom_left(read(channel, geometry, y + 1, x, c.bottom_left != A(0))),
        bottom_right(read(channel, geometry, y + 1, x + 1, c.bottom_right != A(0))) {}

  // What a column holds, where the corners are those that count. One not read is 0, so its product is 0 too, and NaN
  // coefficients give NaN even outside the image.
  ACU_HOST_DEVICE A blend(const Coefficients<A>& c, int v) const {
    return c.top_left * static_cast<A>(top_left.values[v]) + c.top_right * static_cast<A>(top_right.values[v]) +
           c.bottom_left * static_cast<A>(bottom_left.values[v]) +
           c.bottom_right * static_cast<A>(bottom_right.values[v]);
  }

 private:
  static ACU_HOST_DEVICE Pack<T, Width> read(const T* channel, const Geometry& geometry, int y, int x, bool wanted) {
    // The unsigned comparison is the test for negative too.
    if (wanted && static_cast<unsigned>(y) < static_cast<unsigned>(geometry.height) &&
        static_cast<unsigned>(x) < static_cast<unsigned>(geometry.width)) {
      return load<T, Width>(channel + (int64_t{y} * geometry.width + x) * geometry.channels);
    }
    return {};
  }
};

// Column and derivatives from all four corners. On the grid some of them count for the derivative only.
template <typename T, int Width>
struct Slopes {
  using A = Accumulator<T>;
  A column, by_y, by_x;

  ACU_HOST_DEVICE Slopes(const Corners<T, Width>& corners, const Coefficients<A>& c, const Displacement<A>& d, int v) {
    const A top_left = static_cast<A>(corners.top_left.values[v]);
    const A top_right = static_cast<A>(corners.top_right.values[v]);
    const A bottom_left = static_cast<A>(corners.bottom_left.values[v]);
    const A bottom_right = static_cast<A>(corners.bottom_right.values[v]);
    column = weighted(c.top_left, top_left) + weighted(c.top_right, top_right) + weighted(c.bottom_left, bottom_left) +
             weighted(c.bottom_right, bottom_right);
    by_y = weighted(A(1) - d.right, bottom_left - top_left) + weighted(d.right, bottom_right - top_right);
    by_x = weighted(A(1) - d.down, top_right - top_left) + weighted(d.down, bottom_right - bottom_left);
  }
};

// Body of a kernel: index = stretch * (entries in a row) + entry.
template <typename T, int Width>
struct BuildColumns {
  using A = Accumulator<T>;
  Geometry geometry;
  const T* input;      // (N, H, W, C)
  const A* positions;  // (G, K, 2)
  T* columns;          // (pixels, segments, synapses, group_channels)
  int64_t first_pixel;
  int64_t pixels;
  int64_t stretch;  // pixels a thread walks over

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

    OutputPixel pixel(geometry, first_pixel + begin);
    for (int64_t row = begin; row < end; ++row, pixel.advance(geometry), column += geometry.row_length()) {
      const T* image = channel + pixel.image * geometry.image_pixels() * geometry.channels;
      const int y = pixel.centre_y(geometry) + d.row;
      const int x = pixel.centre_x(geometry) + d.column;
      const Corners<T, Width> corners(image, geometry, y, x, c);
      Pack<T, Width> result;
      ACU_UNROLL
      for (int v = 0; v < Width; ++v) result.values[v] = static_cast<T>(corners.blend(c, v));
      store<T, Width>(column, result);
    }
  }
};

// Body of a kernel: index = pixel * output channels + output channel.
template <typename T>
struct AddBias {
  const T* bias;
  T* output;  // (pixels, O)
  int64_t out_channels;

  ACU_HOST_DEVICE void operator()(int64_t index) const {
    using A = Accumulator<T>;
    const A before = static_cast<A>(load(output + index));
    store(output + index, static_cast<T>(before + static_cast<A>(load(bias + index % out_channels))));
  }
};

}  // namespace acu::cuda
