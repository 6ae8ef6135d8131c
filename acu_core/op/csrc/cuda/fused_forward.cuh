// The blended product: columns are blended a tile at a time from shared memory and go straight to the tensor cores, so
// that no column is ever in the GPU's memory. Forward is one such product. At stride 1 the input's gradient is another:
// there the image is grad_output, the weight is transposed, displacements point the other way and top and left padding
// are negated, since the transpose of a constant shift is the opposite shift.
//
// A *bundle* is the result's channels that read the same image channels: forward, a segment; for the input's gradient,
// a convolution group. What it reads comes in *sources*, each with one set of positions: forward one, the group's
// channels; for the input's gradient the outputs of each of the group's segments.
//
// A block computes 128 pixels x up to 192 channels of a bundle. It walks over the sources, over their channels 32 bytes
// at a time (a *chunk*), and over the synapses; columns and weights are multiplied in the order of that walk, so that
// sums have one order. Weights have been put into that order before (fused_weights.cuh).
#pragma once

#include "fused_tiles.cuh"

namespace acu::cuda {

// More do not fit into the table in shared memory; their weights would not either.
constexpr int kMostSynapses = 64;

// A synapse as a tile looks along it: from the pixel under the centre, the first row and column of the four corners,
// and what each corner counts.
struct Sight {
  int synapse;
  int row, column;
  float top_left, top_right, bottom_left, bottom_right;
  bool counts_all;  // finite, and no corner counts 0

  ACU_HOST_DEVICE bool is_finite() const { return top_left == top_left && bottom_right == bottom_right; }
};

struct SightTable {
  Sight all[kMostSynapses];
  Window windows[kMostSynapses];
  bool seen[kMostSynapses];
  int seeing[kMostSynapses];  // those that see a pixel of the image, and those that are not finite
  int seeing_count;
  bool one_window;
  Window window;  // of all of them, where it fits
};

// What a block has in shared memory: the table; weights [synapse][channel][result channel] of one chunk of channels;
// columns [buffer][synapse][pixel][channel]; the window.
template <typename T, int OutputFragments>
struct BlendMemory {
  static constexpr int kDepth = kProductDepth<T>;
  // Two warps stand side by side over the outputs, four over the pixels.
  static constexpr int kOutputs = 2 * OutputFragments * kSide;
  // A vector more than needed, so that rows begin in different banks.
  static constexpr int kWeightLength = kOutputs + kVector<T>;
  static constexpr int kColumnLength = kDepth + kVector<T>;
  static constexpr int64_t kTable = (sizeof(SightTable) + 127) / 128 * 128;

  int synapses, at_once, capacity;  // capacity: the window's pixels in all images

  static ACU_HOST_DEVICE int chunk_weights(int synapses) { return synapses * kDepth * kWeightLength; }
  ACU_HOST_DEVICE int64_t weights() const { return kTable; }
  ACU_HOST_DEVICE int64_t columns() const {
    return weights() + chunk_weights(synapses) * static_cast<int64_t>(sizeof(T));
  }
  ACU_HOST_DEVICE int64_t window() const {
    return columns() + int64_t{2} * at_once * kTilePixels * kColumnLength * static_cast<int64_t>(sizeof(T));
  }
  ACU_HOST_DEVICE int64_t bytes() const {
    return window() + int64_t{capacity} * kDepth * static_cast<int64_t>(sizeof(T));
  }
};

template <typename T>
struct BlendProblem {
  Geometry geometry;  // of the call
  Sampling sampling;  // of this product
  Tiling tiling;
  const T* image;          // channels_last
  const T* weight;         // (O, C/groups, K)
  T* packed;               // the same, (blocks of result channels, chunks, as a chunk lies in shared memory)
  const float* positions;  // (G, K, 2)
  const T* bias;           // or null
  T* result;               // channels_last
  int out_channels;        // O
  bool mirrored;           // the input's gradient
  bool image_aligned, result_aligned;
  int at_once;   // synapses blended between two barriers
  int capacity;  // of the window

  ACU_HOST_DEVICE int segment_outputs() const { return out_channels / geometry.segments; }
  ACU_HOST_DEVICE int bundles() const { return mirrored ? geometry.groups : geometry.segments; }
  ACU_HOST_DEVICE int bundle_channels() const { return mirrored ? geometry.group_channels : segment_outputs(); }
  ACU_HOST_DEVICE int sources() const { return mirrored ? geometry.segments / geometry.groups : 1; }
  ACU_HOST_DEVICE int source_channels() const { return mirrored ? segment_outputs() : geometry.group_channels; }
  ACU_HOST_DEVICE int image_channels() const { return mirrored ? out_channels : geometry.channels; }
  ACU_HOST_DEVICE int result_channels() const { return mirrored ? geometry.channels : out_channels; }
  ACU_HOST_DEVICE int source_chunks() const { return (source_channels() + kProductDepth<T> - 1) / kProductDepth<T>; }
  // The segment whose weights and positions a source has.
  ACU_HOST_DEVICE int segment(int bundle, int source) const { return mirrored ? bundle * sources() + source : bundle; }
  ACU_HOST_DEVICE int first_image_channel(int segment) const {
    return mirrored ? segment * segment_outputs() : geometry.group_of_segment(segment) * geometry.group_channels;
  }
};

// Looking from a result's pixel. The transposed one sees, one row above, what `down` of its pixel went to.
ACU_HOST_DEVICE Sight sight_along(const float* position, int synapse, bool mirrored) {
  const Displacement<float> d = displacement(position + 2 * synapse);
  Sight sight;
  sight.synapse = synapse;
  sight.row = mirrored ? -d.row - 1 : d.row;
  sight.column = mirrored ? -d.column - 1 : d.column;
  const float up = 1.0f - d.down, left = 1.0f - d.right;
  sight.top_left = mirrored ? d.down * d.right : up * left;
  sight.top_right = mirrored ? d.down * left : up * d.right;
  sight.bottom_left = mirrored ? up * d.right : d.down * left;
  sight.bottom_right = mirrored ? up * left : d.down * d.right;
  sight.counts_all = sight.is_finite() && sight.top_left != 0.0f && sight.top_right != 0.0f &&
                     sight.bottom_left != 0.0f && sight.bottom_right != 0.0f;
  return sight;
}

template <typename T, int OutputFragments>
struct BlendedProduct;

#ifdef ACU_HAS_TENSOR_CORES

template <typename T, int OutputFragments>
struct BlendedProduct {
  using Memory = BlendMemory<T, OutputFragments>;
  static constexpr int kDepth = Memory::kDepth;
  static constexpr int kPixelFragments = 2;  // of a warp: 32 pixels
  static_assert(kTilePixels * 2 == kThreads, "a thread blends one vector of one pixel");

  const BlendProblem<T>& problem;
  SightTable* table;
  T *weights, *columns, *window;
  Tile tile;
  int bundle, first_channel;  // of the result, within the bundle
  Place place;                // of this thread's pixel
  SumFragment<T> sums[kPixelFragments][OutputFragments];

  ACU_DEVICE BlendedProduct(const BlendProblem<T>& problem, unsigned char* shared)
      : problem(problem),
        table(reinterpret_cast<SightTable*>(shared)),
        tile(problem.tiling, static_cast<int>(blockIdx.x)) {
    const Memory memory{problem.geometry.synapses, problem.at_once, problem.capacity};
    weights = reinterpret_cast<T*>(shared + memory.weights());
    columns = reinterpret_cast<T*>(shared + memory.columns());
    window = reinterpret_cast<T*>(shared + memory.window());
    const int blocks = (problem.bundle_channels() + Memory::kOutputs - 1) / Memory::kOutputs;
    bundle = blockIdx.y / blocks;
    first_channel = (blockIdx.y - bundle * blocks) * Memory::kOutputs;
    place = problem.tiling.place(threadIdx.x / 2);
  }

  ACU_DEVICE void run() {
    ACU_UNROLL
    for (int i = 0; i < kPixelFragments; ++i) {
      ACU_UNROLL
      for (int j = 0; j < OutputFragments; ++j) nvcuda::wmma::fill_fragment(sums[i][j], 0.0f);
    }
    int step = 0;
    for (int source = 0; source < problem.sources(); ++source) {
      const int segment = problem.segment(bundle, source);
      look_around(segment);
      const int windows = table->one_window ? (table->seeing_count > 0 ? 1 : 0) : table->seeing_count;
      if (windows == 0) continue;
      for (int number = 0; number < problem.source_chunks(); ++number) {
        const int channel = number * kDepth;
        __syncthreads();  // the products with the last chunk's weights are done
        copy_weights(source * problem.source_chunks() + number);
        const ChannelChunk<T> chunk{problem.image, problem.image_channels(),
                                    problem.first_image_channel(segment) + channel, problem.source_channels() - channel,
                                    problem.image_aligned};
        for (int index = 0; index < windows; ++index) {
          const int begin = table->one_window ? 0 : index;
          const int end = table->one_window ? table->seeing_count : index + 1;
          const Window box = table->one_window ? table->window : table->windows[table->seeing[index]];
          // Nobody blends from the last window any more: that was over at the last barrier.
          copy_window<T, 2>(window, chunk, problem.sampling, problem.tiling, tile, box);
          await_copies();
          __syncthreads();  // window and weights are there
          const int origin = box.spot(problem.sampling, place) - box.row * box.columns - box.column;
          for (int first = begin; first < end; first += problem.at_once, ++step) {
            const int count = end - first < problem.at_once ? end - first : problem.at_once;
            // Two buffers: while one warp still multiplies from one, another may already blend into the other.
            T* buffer = columns + int64_t{step & 1} * problem.at_once * kTilePixels * Memory::kColumnLength;
            for (int i = 0; i < count; ++i)
              blend(table->all[table->seeing[first + i]], origin, box.columns, buffer + i * column_size());
            __syncthreads();  // the columns are there
            for (int i = 0; i < count; ++i) multiply(table->seeing[first + i], buffer + i * column_size());
          }
        }
      }
    }
    write();
  }

 private:
  static ACU_DEVICE int column_size() { return kTilePixels * Memory::kColumnLength; }

  // Rows and columns that count nothing are left out: on the grid there is one of each.
  ACU_DEVICE Window window_of(const Sight& sight) const {
    const bool top = sight.top_left != 0.0f || sight.top_right != 0.0f;
    const bool bottom = sight.bottom_left != 0.0f || sight.bottom_right != 0.0f;
    const bool left = sight.top_left != 0.0f || sight.bottom_left != 0.0f;
    const bool right = sight.top_right != 0.0f || sight.bottom_right != 0.0f;
    return Window::of(problem.sampling, problem.tiling, sight.row + (top ? 0 : 1), sight.column + (left ? 0 : 1),
                      top && bottom ? 1 : 0, left && right ? 1 : 0);
  }

  // Which synapses see anything from this tile, and the window that holds all that they see.
  ACU_DEVICE void look_around(int segment) {
    const int synapses = problem.geometry.synapses;
    const int group = problem.geometry.position_group_of_segment(segment);
    // Of the last source's table `seeing` may still be read: it is not written before the next barrier.
    for (int synapse = threadIdx.x; synapse < synapses; synapse += kThreads) {
      const Sight sight = sight_along(problem.positions + 2 * int64_t{group} * synapses, synapse, problem.mirrored);
      const Window box = window_of(sight);
      table->all[synapse] = sight;
      table->windows[synapse] = box;
      table->seen[synapse] = !sight.is_finite() || box.is_seen(problem.sampling, tile);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      int count = 0;
      bool any = false;
      Window all{};
      for (int synapse = 0; synapse < synapses; ++synapse) {
        if (!table->seen[synapse]) continue;
        table->seeing[count++] = synapse;
        if (!table->all[synapse].is_finite()) continue;
        if (any) {
          all.widen(table->windows[synapse]);
        } else {
          all = table->windows[synapse];
          any = true;
        }
      }
      table->seeing_count = count;
      table->one_window = all.fits(problem.tiling, problem.capacity);
      table->window = all;
    }
    __syncthreads();
  }

  // Begins to copy the weights of a chunk: they lie in the GPU's memory as they will here.
  ACU_DEVICE void copy_weights(int chunk) {
    const int size = Memory::chunk_weights(problem.geometry.synapses);
    const int64_t chunks = int64_t{problem.sources()} * problem.source_chunks();
    const T* from = problem.packed + (blockIdx.y * chunks + chunk) * size;
    for (int index = threadIdx.x * kVector<T>; index < size; index += kThreads * kVector<T>) {
      __pipeline_memcpy_async(weights + index, from + index, 16);
    }
  }

  // This thread's vector of channels of one column. What counts nothing is not read: times 0, an inf would give NaN.
  // `origin`: of this thread's pixel in the window, if nothing were displaced; `below`: from one row to the next.
  ACU_DEVICE void blend(const Sight& sight, int origin, int below, T* column) const {
    const int half = threadIdx.x % 2 * kVector<T>;
    const bool finite = sight.is_finite();
    const T* corner = window + (finite ? origin + sight.row * below + sight.column : 0) * kDepth + half;
    float sum[kVector<T>];
    if (sight.counts_all) {
      // All four are on their way before the first is used.
      const Vector<T> corners[] = {load<T, kVector<T>>(corner), load<T, kVector<T>>(corner + kDepth),
                                   load<T, kVector<T>>(corner + below * kDepth),
                                   load<T, kVector<T>>(corner + (below + 1) * kDepth)};
      const float coefficients[] = {sight.top_left, sight.top_right, sight.bottom_left, sight.bottom_right};
      ACU_UNROLL
      for (int i = 0; i < kVector<T>; ++i) sum[i] = 0.0f;
      ACU_UNROLL
      for (int i = 0; i < 4; ++i) add_corner(sum, coefficients[i], corners[i]);
    } else {
      const float poison = finite ? 0.0f : sight.top_left + sight.bottom_right;
      ACU_UNROLL
      for (int i = 0; i < kVector<T>; ++i) sum[i] = poison;
      if (finite) {
        add_if_it_counts(sum, sight.top_left, corner);
        add_if_it_counts(sum, sight.top_right, corner + kDepth);
        add_if_it_counts(sum, sight.bottom_left, corner + below * kDepth);
        add_if_it_counts(sum, sight.bottom_right, corner + (below + 1) * kDepth);
      }
    }
    store<T, kVector<T>>(column + threadIdx.x / 2 * Memory::kColumnLength + half, pack<T>(sum));
  }

  static ACU_DEVICE void add_if_it_counts(float (&sum)[kVector<T>], float coefficient, const T* corner) {
    if (coefficient != 0.0f) add_corner(sum, coefficient, load<T, kVector<T>>(corner));
  }

  static ACU_DEVICE void add_corner(float (&sum)[kVector<T>], float coefficient, const Vector<T>& corner) {
    float numbers[kVector<T>];
    unpack<T>(corner, numbers);
    ACU_UNROLL
    for (int i = 0; i < kVector<T>; ++i) sum[i] += coefficient * numbers[i];
  }

  ACU_DEVICE void multiply(int synapse, const T* column) {
    const int warp = threadIdx.x / kWarp;
    const T* left = column + warp / 2 * kPixelFragments * kSide * Memory::kColumnLength;
    const T* right = weights + synapse * kDepth * Memory::kWeightLength + warp % 2 * OutputFragments * kSide;
    LeftFragment<T, nvcuda::wmma::row_major> pixels[kPixelFragments];
    ACU_UNROLL
    for (int i = 0; i < kPixelFragments; ++i) {
      load_fragment<T>(pixels[i], left + i * kSide * Memory::kColumnLength, Memory::kColumnLength);
    }
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
    constexpr int kLength = kSide + 4;
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    float* staged = reinterpret_cast<float*>(columns) + warp * kSide * kLength;
    __syncthreads();  // the columns' memory is free
    ACU_UNROLL
    for (int i = 0; i < kPixelFragments; ++i) {
      const Place there = problem.tiling.place((warp / 2 * kPixelFragments + i) * kSide + lane / 2);
      const bool held = tile.holds(problem.sampling, there);
      const int64_t pixel = tile.output_pixel(problem.sampling, there);
      T* row = problem.result + pixel * problem.result_channels() + int64_t{bundle} * problem.bundle_channels();
      ACU_UNROLL
      for (int j = 0; j < OutputFragments; ++j) {
        nvcuda::wmma::store_matrix_sync(staged, sums[i][j], kLength, nvcuda::wmma::mem_row_major);
        __syncwarp();
        ACU_UNROLL
        for (int part = 0; part < kSide / 2; part += kVector<T>) {
          const int inside = lane % 2 * (kSide / 2) + part;
          const int channel = first_channel + (warp % 2 * OutputFragments + j) * kSide + inside;
          if (held) write_vector(row + channel, channel, staged + lane / 2 * kLength + inside);
        }
        __syncwarp();
      }
    }
  }

  ACU_DEVICE void write_vector(T* address, int channel, const float* numbers) const {
    const int count = problem.bundle_channels() - channel;
    Vector<T> result;
    ACU_UNROLL
    for (int i = 0; i < kVector<T>; ++i) {
      float number = numbers[i];
      if (problem.bias != nullptr && i < count) {
        number += static_cast<float>(problem.bias[bundle * problem.bundle_channels() + channel + i]);
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
