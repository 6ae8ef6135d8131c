// How the fused kernels cut pixels into tiles, and how a tile's surroundings come into shared memory.
//
// A tile is a box of output pixels: images x rows x columns. Its *window* is the box of image pixels that some cells see
// from there; positions are constants of the layer, so it is the tile, shifted and widened. What lies in it is read once,
// as it is stored (16-bit numbers stay 16-bit), for all cells. Pixels outside the image are 0. Where cells are so far
// apart that one window for all does not fit, each has its own.
#pragma once

#include <bit>

#include "tensor_cores.cuh"

namespace acu::cuda {

// Where output pixels look: output (i, j) is centred on image pixel (i * stride_h - pad_top, j * stride_w - pad_left).
struct Sampling {
  int images, height, width;
  int out_height, out_width;
  int stride_h, stride_w;
  int pad_top, pad_left;

  ACU_HOST_DEVICE int64_t image_pixels() const { return int64_t{height} * width; }
  ACU_HOST_DEVICE int64_t output_pixels() const { return int64_t{out_height} * out_width; }
};

// A pixel of a tile, counted from the tile's first.
struct Place {
  int image, row, column;
};

// Of a power of two.
ACU_HOST_DEVICE int logarithm(int power) {
#if defined(__CUDACC__) && defined(__CUDA_ARCH__)
  return 31 - __clz(power);
#else
  return std::countr_zero(static_cast<unsigned>(power));
#endif
}

// Quotients of small numbers (below 2^20) by a small one that is the same for all of them: a division of integers takes
// twenty instructions, this three. Half a unit keeps what is exact away from where rounding would decide.
struct SmallDivisor {
  float reciprocal;

  explicit ACU_HOST_DEVICE SmallDivisor(int divisor) : reciprocal(1.0f / static_cast<float>(divisor)) {}
  ACU_HOST_DEVICE int quotient(int number) const {
    return static_cast<int>((static_cast<float>(number) + 0.5f) * reciprocal);
  }
};

// The pixels of a tile come in lines of `line` pixels each: the pixels of a fragment must be evenly spaced in shared
// memory. They are neighbours in a row, or, for small images, the same pixel of consecutive images.
struct Tiling {
  int images, rows, columns;                 // of a tile: powers of two
  int image_tiles, row_tiles, column_tiles;  // of the whole batch
  int line;
  bool over_images;

  ACU_HOST_DEVICE int64_t tiles() const { return int64_t{image_tiles} * row_tiles * column_tiles; }

  ACU_HOST_DEVICE Place place(int pixel) const {
    int image = 0;
    if (over_images) {
      image = pixel & (line - 1);
      pixel >>= logarithm(line);
    }
    const int column = pixel & (columns - 1), above = pixel >> logarithm(columns);
    return {(above >> logarithm(rows)) * (over_images ? line : 1) + image, above & (rows - 1), column};
  }
};

// A tile's first pixel.
struct Tile {
  int image, row, column;

  ACU_HOST_DEVICE Tile(const Tiling& tiling, int index) {
    const int line = index / tiling.column_tiles, above = line / tiling.row_tiles;
    column = (index - line * tiling.column_tiles) * tiling.columns;
    row = (line - above * tiling.row_tiles) * tiling.rows;
    image = above * tiling.images;
  }
  ACU_HOST_DEVICE bool holds(const Sampling& sampling, const Place& place) const {
    return image + place.image < sampling.images && row + place.row < sampling.out_height &&
           column + place.column < sampling.out_width;
  }
  ACU_HOST_DEVICE bool is_whole(const Sampling& sampling, const Tiling& tiling) const {
    return holds(sampling, {tiling.images - 1, tiling.rows - 1, tiling.columns - 1});
  }
  ACU_HOST_DEVICE int64_t output_pixel(const Sampling& sampling, const Place& place) const {
    return (image + place.image) * sampling.output_pixels() + int64_t{row + place.row} * sampling.out_width + column +
           place.column;
  }
};

// The image pixels in shared memory, of each of the tile's images `rows` x `columns`; `row` and `column` of the first
// are counted from the centre of the tile's first pixel.
struct Window {
  int row, column, rows, columns;

  ACU_HOST_DEVICE int pixels() const { return rows * columns; }

  // Of a tile that looks along one displacement, and so many rows and columns further.
  static ACU_HOST_DEVICE Window of(const Sampling& sampling, const Tiling& tiling, int row, int column, int more_rows,
                                   int more_columns) {
    return {row, column, (tiling.rows - 1) * sampling.stride_h + 1 + more_rows,
            (tiling.columns - 1) * sampling.stride_w + 1 + more_columns};
  }
  ACU_HOST_DEVICE void widen(const Window& other) {
    const int last_row = other.row + other.rows > row + rows ? other.row + other.rows : row + rows;
    const int last_column =
        other.column + other.columns > column + columns ? other.column + other.columns : column + columns;
    row = other.row < row ? other.row : row;
    column = other.column < column ? other.column : column;
    rows = last_row - row;
    columns = last_column - column;
  }
  // Whether the images of a tile have room for it. Far too large ones do not overflow: a window that is seen is at most
  // three times an image's extent.
  ACU_HOST_DEVICE bool fits(const Tiling& tiling, int capacity) const {
    return int64_t{rows} * columns * tiling.images <= capacity;
  }
  // Whether any of it lies in the image.
  ACU_HOST_DEVICE bool is_seen(const Sampling& sampling, const Tile& tile) const {
    const int y = tile.row * sampling.stride_h - sampling.pad_top + row;
    const int x = tile.column * sampling.stride_w - sampling.pad_left + column;
    return y < sampling.height && y + rows > 0 && x < sampling.width && x + columns > 0;
  }
  // Where the pixel under a place's centre would lie if the window began there.
  ACU_HOST_DEVICE int spot(const Sampling& sampling, const Place& place) const {
    return (place.image * rows + place.row * sampling.stride_h) * columns + place.column * sampling.stride_w;
  }
};

// Channels [channel, channel + count) of an image in channels_last.
template <typename T>
struct ChannelChunk {
  const T* image;
  int pixel_length;  // all channels of a pixel
  int channel, count;
  bool aligned;  // vectors may be read at once
};

#ifdef ACU_HAS_TENSOR_CORES

// Calls function(where in memory, from where, how many channels there are) for each vector of a window, `Vectors` of
// channels a pixel; from nowhere (null) for pixels outside the image.
template <typename T, int Vectors, typename Function>
ACU_DEVICE void for_each_vector(const ChannelChunk<T>& chunk, const Sampling& sampling, const Tiling& tiling,
                                const Tile& tile, const Window& window, const Function& function) {
  const int first_y = tile.row * sampling.stride_h - sampling.pad_top + window.row;
  const int first_x = tile.column * sampling.stride_w - sampling.pad_left + window.column;
  const int count = tiling.images * window.pixels() * Vectors;
  const SmallDivisor by_columns(window.columns), by_rows(window.rows);
  for (int index = threadIdx.x; index < count; index += kThreads) {
    const int pixel = index / Vectors, channel = index % Vectors * kVector<T>;
    const int line = by_columns.quotient(pixel), image = by_rows.quotient(line);
    const int y = first_y + line - image * window.rows, x = first_x + pixel - line * window.columns;
    const T* from = nullptr;
    if (tile.image + image < sampling.images && static_cast<unsigned>(y) < static_cast<unsigned>(sampling.height) &&
        static_cast<unsigned>(x) < static_cast<unsigned>(sampling.width)) {
      from = chunk.image +
             ((tile.image + image) * sampling.image_pixels() + int64_t{y} * sampling.width + x) * chunk.pixel_length +
             chunk.channel + channel;
    }
    function(index * kVector<T>, from, chunk.count - channel);
  }
}

// Begins to copy a window as it is; channels that there are not are 0.
template <typename T, int Vectors>
ACU_DEVICE void copy_window(T* memory, const ChannelChunk<T>& chunk, const Sampling& sampling, const Tiling& tiling,
                            const Tile& tile, const Window& window) {
  for_each_vector<T, Vectors>(chunk, sampling, tiling, tile, window, [&](int to, const T* from, int count) {
    if (from != nullptr) {
      copy_some(memory + to, from, count, chunk.aligned);
    } else {
      store<T, kVector<T>>(memory + to, no_numbers<T>());
    }
  });
}

// Reads a window that is multiplied as it is: rounded to what products take. Tells whether an inf or a NaN is in it.
template <typename T, int Vectors>
ACU_DEVICE bool read_window(T* memory, const ChannelChunk<T>& chunk, const Sampling& sampling, const Tiling& tiling,
                            const Tile& tile, const Window& window) {
  bool strange = false;
  for_each_vector<T, Vectors>(chunk, sampling, tiling, tile, window, [&](int to, const T* from, int count) {
    Vector<T> numbers = no_numbers<T>();
    if (from != nullptr) numbers = rounded_vector(load_some(from, count, chunk.aligned));
    ACU_UNROLL
    for (int i = 0; i < kVector<T>; ++i) {
      const float number = static_cast<float>(numbers.values[i]);
      strange = strange || !(number - number == 0.0f);
    }
    store<T, kVector<T>>(memory + to, numbers);
  });
  return strange;
}

#endif

}  // namespace acu::cuda
