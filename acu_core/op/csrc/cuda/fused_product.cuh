// The product of cells and blended weights: forward, the input's gradient at stride 1.
//
//     Y[n, o, i, j] = sum over cells, c of V[cell][o, c] * image[n, c, (i, j) under its centre + cell]
//
// where V is the weight of the cell's corners, blended (fused_weights.cuh). So pixels go to the tensor cores as they are,
// and no column is ever anywhere. At stride 1 the input's gradient is another such product: there the image is
// grad_output, the weight is transposed, cells lie the other way and top and left padding are negated, since the
// transpose of a constant shift is the opposite shift.
//
// A *bundle* is the result's channels that read the same image channels: forward, a segment; for the input's gradient,
// a convolution group. What it reads comes in *sources*, each with one set of positions: forward one, the group's
// channels; for the input's gradient the outputs of each of the group's segments.
//
// A block computes 256 pixels x up to 96 channels of a bundle, a warp 32 of the pixels with all of the channels: what it
// reads from shared memory for a product is least then, and that is what takes the time. It walks over the sources, over
// their channels 32 bytes at a time (a *chunk*), and over the cells, so that sums have one order.
#pragma once

#include "fused_cells.cuh"

namespace acu::cuda {

// Output pixels of a product's tile.
constexpr int kProductPixels = 256;

// The cells of a source as its positions have them, and whether all of those are finite; in the GPU's memory.
struct CellList {
  int count;
  int finite;
  int row[kMostCells], column[kMostCells];
};

struct ProductTable {
  int cells;
  bool finite;
  int row[kMostCells], column[kMostCells];  // as this product looks
  int offset[kMostCells];                   // in the window; -1 for a cell that sees nothing from this tile
  Window window;
  bool one_window, all_seen;
};

// What a block has in shared memory: the table; weights [cell][channel][result channel] of one chunk and of some cells;
// the window [pixel][channel], whose place the sums take when they are complete.
template <typename T, int OutputFragments>
struct ProductMemory {
  static constexpr int kDepth = kProductDepth<T>;
  static constexpr int kOutputs = OutputFragments * kSide;
  // A vector more than needed, so that rows begin in different banks.
  static constexpr int kWeightLength = kOutputs + kVector<T>;
  static constexpr int kCellWeights = kDepth * kWeightLength;
  static constexpr int64_t kTable = (sizeof(ProductTable) + 127) / 128 * 128;
  static constexpr int kStagedLength = kSide + 4;
  static constexpr int64_t kStaged = int64_t{kWarps} * kSide * kStagedLength * sizeof(float);

  int at_once, capacity;  // cells; the window's pixels in all images

  ACU_HOST_DEVICE int64_t weights() const { return kTable; }
  ACU_HOST_DEVICE int64_t window() const {
    return weights() + int64_t{at_once} * kCellWeights * static_cast<int64_t>(sizeof(T));
  }
  ACU_HOST_DEVICE int64_t bytes() const {
    const int64_t pixels = int64_t{capacity} * kDepth * static_cast<int64_t>(sizeof(T));
    return window() + (pixels > kStaged ? pixels : kStaged);
  }
};

template <typename T>
struct ProductProblem {
  Geometry geometry;  // of the call
  Sampling sampling;  // of this product
  Tiling tiling;
  const T* image;          // channels_last
  const T* weight;         // (O, C/groups, K)
  const float* positions;  // (G, K, 2)
  const T* bias;           // or null
  T* result;               // channels_last
  T* folded;               // V, (blocks of result channels, sources, chunks, cells, as they lie in shared memory)
  CellList* lists;         // (blocks of result channels, sources)
  bool mirrored;           // the input's gradient
  bool image_aligned, result_aligned;
  int at_once;   // cells
  int capacity;  // of the window
  // All of these follow from the call; a division on the GPU takes twenty instructions.
  int out_channels;     // O
  int segment_outputs;  // O / segments
  int bundle_channels, sources, source_channels, chunks;
  int blocks_each;  // of a bundle
  int fold_blocks;  // that share the chunks of a block's weights
  int image_channels, result_channels;

  // The segment whose weights and positions a source has.
  ACU_HOST_DEVICE int segment(int bundle, int source) const { return mirrored ? bundle * sources + source : bundle; }
  ACU_HOST_DEVICE int first_image_channel(int segment) const {
    return mirrored ? segment * segment_outputs : geometry.group_of_segment(segment) * geometry.group_channels;
  }
  ACU_HOST_DEVICE int most_cells() const { return kCorners * geometry.synapses; }
};

template <typename T, int OutputFragments>
struct CellProduct;

#ifdef ACU_HAS_TENSOR_CORES

template <typename T, int OutputFragments>
struct CellProduct {
  using Memory = ProductMemory<T, OutputFragments>;
  static constexpr int kDepth = Memory::kDepth;
  static constexpr int kPixelFragments = 2;  // of a warp: 32 pixels
  static_assert(kWarps * kPixelFragments * kSide == kProductPixels);

  const ProductProblem<T>& problem;
  ProductTable* table;
  T *weights, *window;
  Tile tile;
  int bundle, first_channel;  // of the result, within the bundle
  bool finite = true;
  SumFragment<T> sums[kPixelFragments][OutputFragments];

  ACU_DEVICE CellProduct(const ProductProblem<T>& problem, unsigned char* shared)
      : problem(problem),
        table(reinterpret_cast<ProductTable*>(shared)),
        tile(problem.tiling, static_cast<int>(blockIdx.x)) {
    const Memory memory{problem.at_once, problem.capacity};
    weights = reinterpret_cast<T*>(shared + memory.weights());
    window = reinterpret_cast<T*>(shared + memory.window());
    bundle = blockIdx.y / problem.blocks_each;
    first_channel = (blockIdx.y - bundle * problem.blocks_each) * Memory::kOutputs;
  }

  ACU_DEVICE void run() {
    ACU_UNROLL
    for (int i = 0; i < kPixelFragments; ++i) {
      ACU_UNROLL
      for (int j = 0; j < OutputFragments; ++j) nvcuda::wmma::fill_fragment(sums[i][j], 0.0f);
    }
    for (int source = 0; source < problem.sources; ++source) {
      look_around(source);
      finite = finite && table->finite;
      const int segment = problem.segment(bundle, source), first = problem.first_image_channel(segment);
      for (int chunk = 0; chunk < problem.chunks; ++chunk) {
        const int channel = chunk * kDepth;
        const ChannelChunk<T> channels{problem.image, problem.image_channels, first + channel,
                                       problem.source_channels - channel, problem.image_aligned};
        const T* from = problem.folded + ((int64_t{blockIdx.y} * problem.sources + source) * problem.chunks + chunk) *
                                             problem.most_cells() * Memory::kCellWeights;
        table->one_window ? multiply_together(channels, from) : multiply_apart(channels, from);
      }
    }
    write();
  }

 private:
  // The window of one cell.
  ACU_DEVICE Window window_of(int cell) const {
    return Window::of(problem.sampling, problem.tiling, table->row[cell], table->column[cell], 0, 0);
  }

  // Which cells see anything from this tile, and the window that holds all that they see, where it fits.
  ACU_DEVICE void look_around(int source) {
    const CellList& list = problem.lists[int64_t{blockIdx.y} * problem.sources + source];
    const int cells = list.count;
    __syncthreads();  // nobody needs the last source's table any more
    for (int cell = threadIdx.x; cell < cells; cell += kThreads) {
      table->row[cell] = problem.mirrored ? -list.row[cell] : list.row[cell];
      table->column[cell] = problem.mirrored ? -list.column[cell] : list.column[cell];
      table->offset[cell] = window_of(cell).is_seen(problem.sampling, tile) ? 0 : -1;
    }
    if (threadIdx.x == 0) {
      table->cells = cells;
      table->finite = list.finite != 0;
    }
    __syncthreads();  // what is seen is known
    if (threadIdx.x == 0) {
      int first_row = kFarAway, last_row = -kFarAway, first_column = kFarAway, last_column = -kFarAway;
      table->all_seen = true;
      for (int cell = 0; cell < cells; ++cell) {
        if (table->offset[cell] < 0) {
          table->all_seen = false;
          continue;
        }
        const int row = table->row[cell], column = table->column[cell];
        first_row = row < first_row ? row : first_row;
        last_row = row > last_row ? row : last_row;
        first_column = column < first_column ? column : first_column;
        last_column = column > last_column ? column : last_column;
      }
      // Of what is seen, no window is larger than three times the image.
      const bool any = last_row >= first_row;
      table->window = Window::of(problem.sampling, problem.tiling, any ? first_row : 0, any ? first_column : 0,
                                 any ? last_row - first_row : 0, any ? last_column - first_column : 0);
      table->one_window = table->window.fits(problem.tiling, problem.capacity);
    }
    __syncthreads();  // the window is known
    if (!table->one_window) return;
    for (int cell = threadIdx.x; cell < cells; cell += kThreads) {
      if (table->offset[cell] < 0) continue;
      table->offset[cell] =
          (table->row[cell] - table->window.row) * table->window.columns + table->column[cell] - table->window.column;
    }
  }

  // A chunk whose window holds what all cells see: their weights come in turns.
  ACU_DEVICE void multiply_together(const ChannelChunk<T>& channels, const T* from) {
    const int cells = table->cells;
    for (int first = 0; first < cells; first += problem.at_once) {
      const int count = cells - first < problem.at_once ? cells - first : problem.at_once;
      __syncthreads();  // the last products are done; where cells lie is known
      copy_weights(from, first, count);
      if (first == 0) fill_window(channels, table->window);
      await_copies();
      __syncthreads();  // window and weights are there
      const int apart = problem.tiling.over_images ? table->window.pixels() : problem.sampling.stride_w;
      const int spots[] = {spot(0, table->window), spot(1, table->window)};
      if (table->all_seen) {
        // Without a branch the next cell's pixels are on their way while this one's are multiplied.
        ACU_UNROLL_TWICE
        for (int i = 0; i < count; ++i) {
          const int offset = table->offset[first + i];
          multiply(i, spots[0] + offset, spots[1] + offset, apart);
        }
        continue;
      }
      for (int i = 0; i < count; ++i) {
        const int offset = table->offset[first + i];
        if (offset >= 0) multiply(i, spots[0] + offset, spots[1] + offset, apart);
      }
    }
  }

  // Each cell has a window of its own.
  ACU_DEVICE void multiply_apart(const ChannelChunk<T>& channels, const T* from) {
    for (int cell = 0; cell < table->cells; ++cell) {
      if (table->offset[cell] < 0) continue;
      const Window box = window_of(cell);
      __syncthreads();  // the last products are done
      copy_weights(from, cell, 1);
      fill_window(channels, box);
      await_copies();
      __syncthreads();  // window and weights are there
      const int apart = problem.tiling.over_images ? box.pixels() : problem.sampling.stride_w;
      multiply(0, spot(0, box), spot(1, box), apart);
    }
  }

  // Begins to copy the weights of some cells: they lie in the GPU's memory as they will here.
  ACU_DEVICE void copy_weights(const T* from, int first, int count) {
    const int size = count * Memory::kCellWeights;
    from += int64_t{first} * Memory::kCellWeights;
    for (int index = threadIdx.x * kVector<T>; index < size; index += kThreads * kVector<T>) {
      __pipeline_memcpy_async(weights + index, from + index, 16);
    }
  }

  // TF32 is rounded on the way; what has 16 bits is copied without a register.
  ACU_DEVICE void fill_window(const ChannelChunk<T>& channels, const Window& box) {
    if constexpr (std::is_same_v<T, float>) {
      read_window<T, 2>(window, channels, problem.sampling, problem.tiling, tile, box);
    } else {
      copy_window<T, 2>(window, channels, problem.sampling, problem.tiling, tile, box);
    }
  }

  // Where a line of this warp's pixels would lie in the window if nothing were displaced from its first cell.
  ACU_DEVICE int spot(int fragment, const Window& box) const {
    const int line = threadIdx.x / kWarp * kPixelFragments + fragment;
    return box.spot(problem.sampling, problem.tiling.place(line * kSide));
  }

  ACU_DEVICE void multiply(int cell, int first, int second, int apart) {
    const T* right = weights + cell * Memory::kCellWeights;
    LeftFragment<T, nvcuda::wmma::row_major> pixels[kPixelFragments];
    load_fragment<T>(pixels[0], window + first * kDepth, apart * kDepth);
    load_fragment<T>(pixels[1], window + second * kDepth, apart * kDepth);
    ACU_UNROLL
    for (int j = 0; j < OutputFragments; ++j) {
      RightFragment<T> outputs;
      load_fragment<T>(outputs, right + j * kSide, Memory::kWeightLength);
      ACU_UNROLL
      for (int i = 0; i < kPixelFragments; ++i) {
        nvcuda::wmma::mma_sync(sums[i][j], pixels[i], outputs, sums[i][j]);
      }
    }
  }

  // Sums leave by way of shared memory, a fragment at a time, so that a thread has eight neighbouring channels of a
  // pixel.
  ACU_DEVICE void write() {
    constexpr int kLength = Memory::kStagedLength;
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    float* staged = reinterpret_cast<float*>(window) + warp * kSide * kLength;
    __syncthreads();  // the window's memory is free
    ACU_UNROLL
    for (int i = 0; i < kPixelFragments; ++i) {
      const Place there = problem.tiling.place((warp * kPixelFragments + i) * kSide + lane / 2);
      const bool held = tile.holds(problem.sampling, there);
      const int64_t pixel = tile.output_pixel(problem.sampling, there);
      T* row = problem.result + pixel * problem.result_channels + int64_t{bundle} * problem.bundle_channels;
      ACU_UNROLL
      for (int j = 0; j < OutputFragments; ++j) {
        nvcuda::wmma::store_matrix_sync(staged, sums[i][j], kLength, nvcuda::wmma::mem_row_major);
        __syncwarp();
        ACU_UNROLL
        for (int part = 0; part < kSide / 2; part += kVector<T>) {
          const int inside = lane % 2 * (kSide / 2) + part;
          const int channel = first_channel + j * kSide + inside;
          if (held) write_vector(row + channel, channel, staged + lane / 2 * kLength + inside);
        }
        __syncwarp();
      }
    }
  }

  ACU_DEVICE void write_vector(T* address, int channel, const float* numbers) const {
    const int count = problem.bundle_channels - channel;
    Vector<T> result;
    ACU_UNROLL
    for (int i = 0; i < kVector<T>; ++i) {
      float number = finite ? numbers[i] : NAN;
      if (problem.bias != nullptr && i < count) {
        number += static_cast<float>(problem.bias[bundle * problem.bundle_channels + channel + i]);
      }
      result.values[i] = static_cast<T>(number);
    }
    if (problem.result_aligned && count >= kVector<T>) {
      store<T, kVector<T>>(address, result);
      return;
    }
    ACU_UNROLL
    for (int i = 0; i < kVector<T>; ++i) {
      if (i < count) address[i] = result.values[i];
    }
  }
};

#endif

}  // namespace acu::cuda
