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
// at a time, and over the synapses; columns and weights are multiplied in the order of that walk, so that sums have one
// order.
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

  ACU_HOST_DEVICE bool is_finite() const { return top_left == top_left && bottom_right == bottom_right; }
};

struct SightTable {
  Sight all[kMostSynapses];
  Sight seeing[kMostSynapses];  // those that see a pixel of the image, and those that are not finite
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

  ACU_HOST_DEVICE int64_t weights() const { return kTable; }
  ACU_HOST_DEVICE int64_t columns() const {
    return weights() + int64_t{synapses} * kDepth * kWeightLength * static_cast<int64_t>(sizeof(T));
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
  const float* positions;  // (G, K, 2)
  const T* bias;           // or null
  T* result;               // channels_last
  int out_channels;        // O
  bool mirrored;           // the input's gradient
  bool image_aligned, weight_aligned, result_aligned;
  int at_once;   // synapses blended between two barriers
  int capacity;  // of the window

  ACU_HOST_DEVICE int segment_outputs() const { return out_channels / geometry.segments; }
  ACU_HOST_DEVICE int bundles() const { return mirrored ? geometry.groups : geometry.segments; }
  ACU_HOST_DEVICE int bundle_channels() const { return mirrored ? geometry.group_channels : segment_outputs(); }
  ACU_HOST_DEVICE int sources() const { return mirrored ? geometry.segments / geometry.groups : 1; }
  ACU_HOST_DEVICE int source_channels() const { return mirrored ? segment_outputs() : geometry.group_channels; }
  ACU_HOST_DEVICE int image_channels() const { return mirrored ? out_channels : geometry.channels; }
  ACU_HOST_DEVICE int result_channels() const { return mirrored ? geometry.channels : out_channels; }
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
  static constexpr int kWeightVectors = 3;
  static_assert(kTilePixels * 2 == kThreads, "a thread blends one vector of one pixel");

  const BlendProblem<T>& problem;
  SightTable* table;
  T *weights, *columns, *window;
  Tile tile;
  int bundle, first_channel;  // of the result, within the bundle
  Place place;                // of this thread's pixel
  SumFragment<T> sums[kPixelFragments][OutputFragments];

  ACU_DEVICE BlendedProduct(const BlendProblem<T>& problem, unsigned char* shared)
      : problem(problem), table(reinterpret_cast<SightTable*>(shared)), tile(problem.tiling, blockIdx.x) {
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
      for (int channel = 0; channel < problem.source_channels(); channel += kDepth) {
        __syncthreads();  // the products with the last chunk's weights are done
        load_weights(segment, channel);
        const ChannelChunk<T> chunk{problem.image, problem.image_channels(),
                                    problem.first_image_channel(segment) + channel, problem.source_channels() - channel,
                                    problem.image_aligned};
        for (int index = 0; index < windows; ++index) {
          const int begin = table->one_window ? 0 : index;
          const int end = table->one_window ? table->seeing_count : index + 1;
          const Window box = table->one_window ? table->window : window_of(table->seeing[index]);
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
              blend(table->seeing[first + i], origin, box.columns, buffer + i * column_size());
            __syncthreads();  // the columns are there
            for (int i = 0; i < count; ++i) multiply(table->seeing[first + i].synapse, buffer + i * column_size());
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
    // What is in use of the last source's table is not written before the next barrier.
    for (int synapse = threadIdx.x; synapse < synapses; synapse += kThreads) {
      table->all[synapse] = sight_along(problem.positions + 2 * int64_t{group} * synapses, synapse, problem.mirrored);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      int count = 0;
      bool any = false;
      Window all{};
      for (int synapse = 0; synapse < synapses; ++synapse) {
        const Sight sight = table->all[synapse];
        const Window box = window_of(sight);
        const bool finite = sight.is_finite(), seen = box.is_seen(problem.sampling, tile);
        if (finite && !seen) continue;
        table->seeing[count++] = sight;
        if (!finite) continue;
        if (any) {
          all.widen(box);
        } else {
          all = box;
          any = true;
        }
      }
      table->seeing_count = count;
      table->one_window = all.fits(problem.tiling, problem.capacity);
      table->window = all;
    }
    __syncthreads();
  }

  // The weights of a chunk of channels and all synapses. They are read in the order in which they lie, (output,
  // channel, synapse), 32 bytes of each of 16 rows by a warp, and scattered.
  ACU_DEVICE void load_weights(int segment, int channel) {
    const Geometry& geometry = problem.geometry;
    const int synapses = geometry.synapses;
    const int64_t row_length = int64_t{geometry.group_channels} * synapses;
    // Rows are outputs. Forward they are the result's channels, else those of the image.
    const int row_begin = problem.mirrored ? channel : first_channel;
    const int column_begin = problem.mirrored ? first_channel : channel;
    const int rows = problem.mirrored ? kDepth : Memory::kOutputs;
    const int length = (problem.mirrored ? Memory::kOutputs : kDepth) * synapses;
    const int rows_there = problem.segment_outputs() - row_begin;
    const int there = (geometry.group_channels - column_begin) * synapses;
    const T* source = problem.weight + (int64_t{segment} * problem.segment_outputs() + row_begin) * row_length +
                      int64_t{column_begin} * synapses;
    const int vectors = length / kVector<T>;  // even, as kDepth is two vectors
    const auto row_of = [&](int index) { return index / 2 % rows; };
    const auto first_of = [&](int index) { return (index / (2 * rows) * 2 + index % 2) * kVector<T>; };
    // Several are on their way before the first is scattered.
    for (int begin = threadIdx.x; begin < rows * vectors; begin += kWeightVectors * kThreads) {
      Vector<T> numbers[kWeightVectors];
      ACU_UNROLL
      for (int i = 0; i < kWeightVectors; ++i) {
        const int index = begin + i * kThreads, row = row_of(index), first = first_of(index);
        numbers[i] = no_numbers<T>();
        if (index < rows * vectors && row < rows_there) {
          numbers[i] = load_some(source + row * row_length + first, there - first, problem.weight_aligned);
        }
      }
      ACU_UNROLL
      for (int i = 0; i < kWeightVectors; ++i) {
        const int index = begin + i * kThreads;
        if (index < rows * vectors) scatter_weights(rounded_vector(numbers[i]), row_of(index), first_of(index));
      }
    }
  }

  // Numbers of one output, (channel, synapse) from the first of the chunk on.
  ACU_DEVICE void scatter_weights(const Vector<T>& numbers, int row, int first) {
    const int synapses = problem.geometry.synapses;
    int across = first / synapses, synapse = first - across * synapses;
    ACU_UNROLL
    for (int i = 0; i < kVector<T>; ++i) {
      const int depth = problem.mirrored ? row : across, output = problem.mirrored ? across : row;
      weights[(synapse * kDepth + depth) * Memory::kWeightLength + output] = numbers.values[i];
      if (++synapse == synapses) {
        synapse = 0;
        ++across;
      }
    }
  }

  // This thread's vector of channels of one column. What counts nothing is not read: times 0, an inf would give NaN.
  // `origin`: of this thread's pixel in the window, if nothing were displaced; `below`: from one row to the next.
  ACU_DEVICE void blend(const Sight& sight, int origin, int below, T* column) const {
    const int half = threadIdx.x % 2 * kVector<T>;
    float sum[kVector<T>];
    ACU_UNROLL
    for (int i = 0; i < kVector<T>; ++i) sum[i] = 0.0f;
    if (!sight.is_finite()) {
      ACU_UNROLL
      for (int i = 0; i < kVector<T>; ++i) sum[i] = sight.top_left + sight.bottom_right;
    } else {
      const T* corner = window + (origin + sight.row * below + sight.column) * kDepth + half;
      add_corner(sum, sight.top_left, corner);
      add_corner(sum, sight.top_right, corner + kDepth);
      add_corner(sum, sight.bottom_left, corner + below * kDepth);
      add_corner(sum, sight.bottom_right, corner + (below + 1) * kDepth);
    }
    Vector<T> result;
    ACU_UNROLL
    for (int i = 0; i < kVector<T>; ++i) result.values[i] = Operand<T>::rounded(sum[i]);
    store<T, kVector<T>>(column + threadIdx.x / 2 * Memory::kColumnLength + half, result);
  }

  static ACU_DEVICE void add_corner(float (&sum)[kVector<T>], float coefficient, const T* corner) {
    if (coefficient == 0.0f) return;  // the same for all threads
    const Vector<T> numbers = load<T, kVector<T>>(corner);
    ACU_UNROLL
    for (int i = 0; i < kVector<T>; ++i) sum[i] += coefficient * static_cast<float>(numbers.values[i]);
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
