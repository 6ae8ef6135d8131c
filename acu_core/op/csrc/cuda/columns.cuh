// Columns: what each output pixel reads, interpolated, as the matrix that the GEMM multiplies with the weights.
//
// The matrix is [pixels][segment][synapse][channel], so that neighbouring threads read and write neighbouring channels
// of a channels_last image. A thread keeps one entry (segment, synapse, channels) and walks over a stretch of pixels:
// positions are constants of the layer, so floor, fraction and the four coefficients are computed once a thread, not once
// a pixel as in deformable convolution.
#pragma once

#include "geometry.cuh"

namespace acu::cuda {

// The four corners around a sampled point; those outside the image or not wanted are 0.
template <typename T, int Width>
struct Corners {
  using A = Accumulator<T>;
  A top_left[Width], top_right[Width], bottom_left[Width], bottom_right[Width];

  static ACU_HOST_DEVICE void read(A (&corner)[Width], const T* channel, const Geometry& geometry, int y, int x,
                                   bool wanted) {
    // The unsigned comparison is the test for negative too.
    if (wanted && static_cast<unsigned>(y) < static_cast<unsigned>(geometry.height) &&
        static_cast<unsigned>(x) < static_cast<unsigned>(geometry.width)) {
      const auto pack = load<T, Width>(channel + (int64_t{y} * geometry.width + x) * geometry.channels);
      ACU_UNROLL
      for (int v = 0; v < Width; ++v) corner[v] = static_cast<A>(pack.values[v]);
    } else {
      ACU_UNROLL
      for (int v = 0; v < Width; ++v) corner[v] = A(0);
    }
  }
};

template <typename A>
struct Coefficients {
  A top_left, top_right, bottom_left, bottom_right;

  explicit ACU_HOST_DEVICE Coefficients(const Displacement<A>& d)
      : top_left((A(1) - d.down) * (A(1) - d.right)),
        top_right((A(1) - d.down) * d.right),
        bottom_left(d.down * (A(1) - d.right)),
        bottom_right(d.down * d.right) {}
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
      using Corner = Corners<T, Width>;
      Corner corner;
      Corner::read(corner.top_left, image, geometry, y, x, c.top_left != A(0));
      Corner::read(corner.top_right, image, geometry, y, x + 1, c.top_right != A(0));
      Corner::read(corner.bottom_left, image, geometry, y + 1, x, c.bottom_left != A(0));
      Corner::read(corner.bottom_right, image, geometry, y + 1, x + 1, c.bottom_right != A(0));
      Pack<T, Width> result;
      ACU_UNROLL
      for (int v = 0; v < Width; ++v) {
        // A corner not read is 0, so its product is 0 too, and NaN coefficients give NaN even outside the image.
        result.values[v] =
            static_cast<T>(c.top_left * corner.top_left[v] + c.top_right * corner.top_right[v] +
                           c.bottom_left * corner.bottom_left[v] + c.bottom_right * corner.bottom_right[v]);
      }
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
