// The gradients of weights and positions, without columns and without blending.
//
// What both gradients need is, for each cell, the products of its pixels with grad_output, summed over all output pixels:
//
//     D[cell][o, c] = sum over n, i, j of grad_output[n, o, i, j] * image[n, c, (i, j) under its centre + cell]
//
// The weight's gradient is D of the four corners blended, and the positions' is the difference of D between
// neighbouring corners times the weight, summed over o and c. Beside the 16 to 25 cells of 3x3, columns would take 18
// products (9 for each gradient). Nothing is rounded on the way but what is multiplied.
//
// A block sums over a stretch of tiles for 64 outputs, 16 channels and 16 cells at a time, blends what it has and
// leaves it in the GPU's memory; another kernel adds the stretches up, always in the same order.
#pragma once

#include "fused_corners.cuh"

namespace acu::cuda {

template <typename T>
struct CornerProducts;

#ifdef ACU_HAS_TENSOR_CORES

template <typename T>
struct CornerProducts {
  using Memory = CornerMemory<T>;
  static constexpr int kDepth = kProductDepth<T>;
  static constexpr int kOutputFragments = 2;  // of a warp: 32 outputs
  static constexpr int kCellClasses = 4;      // a warp has every fourth cell
  static constexpr int kWarpCells = kCells / kCellClasses;
  static constexpr int kLines = kTilePixels / kDepth;
  static constexpr int kElements = kBlockElements / kThreads;  // of a thread

  const CornerProblem<T>& problem;
  CornerTable* table;
  T *gradients, *window;
  float* complete;  // (cell, output, channel)
  int segment, first_output, outputs, first_channel, channels;
  float bias = 0.0f;
  SumFragment<T> sums[kWarpCells][kOutputFragments];

  ACU_DEVICE CornerProducts(const CornerProblem<T>& problem, unsigned char* shared)
      : problem(problem),
        table(reinterpret_cast<CornerTable*>(shared)),
        gradients(reinterpret_cast<T*>(shared + Memory::kTable)),
        window(reinterpret_cast<T*>(shared + Memory::kTable + Memory::kGradients)),
        complete(reinterpret_cast<float*>(shared + Memory::kTable)) {
    segment = blockIdx.y / problem.segment_blocks();
    first_output = (blockIdx.y - segment * problem.segment_blocks()) * kBlockOutputs;
    outputs = min_of(problem.segment_outputs() - first_output, kBlockOutputs);
    first_channel = blockIdx.z * kBlockChannels;
    channels = min_of(problem.geometry.group_channels - first_channel, kBlockChannels);
  }

  ACU_DEVICE void run() {
    const int group = problem.geometry.position_group_of_segment(segment), synapses = problem.geometry.synapses;
    list_cells(table->list, problem.positions + 2 * int64_t{group} * synapses, synapses,
               problem.weight_sums != nullptr, problem.position_sums != nullptr);
    const int begin = static_cast<int>(blockIdx.x * problem.stretch), tiles = static_cast<int>(problem.tiling.tiles());
    const int end = begin + min_of(static_cast<int>(problem.stretch), tiles - begin);
    for (int first_cell = 0; first_cell < table->list.cells; first_cell += kCells) {
      const int cells = min_of(table->list.cells - first_cell, kCells);
      survey(first_cell, cells);
      ACU_UNROLL
      for (int i = 0; i < kWarpCells; ++i) {
        ACU_UNROLL
        for (int j = 0; j < kOutputFragments; ++j) nvcuda::wmma::fill_fragment(sums[i][j], 0.0f);
      }
      for (int index = begin; index < end; ++index) {
        const Tile tile(problem.tiling, index);
        __syncthreads();  // what all cells have in common is there, and the last tile's products are done
        look_around(tile, first_cell, cells);
        load_gradients(tile);
        add_tile(tile, first_cell, cells);
      }
      __syncthreads();  // the memory of tiles is free
      complete_sums(cells);
      __syncthreads();  // sums are there
      blend_sums(first_cell, cells);
    }
    write_rest();
  }

 private:
  static ACU_DEVICE int min_of(int a, int b) { return a < b ? a : b; }

  ACU_DEVICE Window window_of(int cell) const {
    return Window::of(problem.sampling, problem.tiling, table->list.cell_row[cell], table->list.cell_column[cell], 0, 0);
  }

  // What the cells at hand have in common in all tiles: a window that holds all of them, where it fits, and where each of
  // them and each line of pixels lies in it.
  ACU_DEVICE void survey(int first_cell, int cells) {
    if (threadIdx.x != 0) return;
    Window all = window_of(first_cell);
    for (int cell = 1; cell < cells; ++cell) all.widen(window_of(first_cell + cell));
    table->fits = is_near(first_cell, cells) && all.fits(problem.tiling, Memory::kCapacity);
    table->one_window = table->fits;
    table->window = all;
    if (!table->fits) return;
    for (int cell = 0; cell < cells; ++cell) {
      table->place[cell] = (table->list.cell_row[first_cell + cell] - all.row) * all.columns +
                           table->list.cell_column[first_cell + cell] - all.column;
    }
    place_lines();
  }

  // Of what is not, a window's extent might overflow.
  ACU_DEVICE bool is_near(int first_cell, int cells) const {
    for (int cell = 0; cell < cells; ++cell) {
      const int row = table->list.cell_row[first_cell + cell], column = table->list.cell_column[first_cell + cell];
      if (row < -kWindowFar || row > kWindowFar || column < -kWindowFar || column > kWindowFar) return false;
    }
    return true;
  }

  ACU_DEVICE void place_lines() {
    for (int line = 0; line < kLines; ++line) {
      table->line[line] = table->window.spot(problem.sampling, problem.tiling.place(line * kDepth));
    }
  }

  // Which of the cells at hand lie in the image, and where.
  ACU_DEVICE void look_around(const Tile& tile, int first_cell, int cells) {
    if (table->fits) {
      for (int cell = threadIdx.x; cell < cells; cell += kThreads) {
        table->offset[cell] = window_of(first_cell + cell).is_seen(problem.sampling, tile) ? table->place[cell] : -1;
      }
      return;
    }
    if (threadIdx.x == 0) look_closer(tile, first_cell, cells);
    __syncthreads();  // the window is known
  }

  // Where one window for all does not fit: perhaps one for those that lie in the image does.
  ACU_DEVICE void look_closer(const Tile& tile, int first_cell, int cells) {
    bool any = false;
    Window all{};
    for (int cell = 0; cell < cells; ++cell) {
      const Window box = window_of(first_cell + cell);
      const bool seen = box.is_seen(problem.sampling, tile);
      table->offset[cell] = seen ? 0 : -1;
      if (!seen) continue;
      if (any) {
        all.widen(box);
      } else {
        all = box;
        any = true;
      }
    }
    table->window = all;
    table->one_window = all.fits(problem.tiling, Memory::kCapacity);
    if (!table->one_window) return;
    for (int cell = 0; cell < cells; ++cell) {
      if (table->offset[cell] < 0) continue;
      table->offset[cell] = (table->list.cell_row[first_cell + cell] - all.row) * all.columns +
                            table->list.cell_column[first_cell + cell] - all.column;
    }
    place_lines();
  }

  // Begins to.
  ACU_DEVICE void load_gradients(const Tile& tile) {
    constexpr int kVectors = kBlockOutputs / kVector<T>;
    const int64_t channel = int64_t{segment} * problem.segment_outputs() + first_output;
    for (int index = threadIdx.x; index < kTilePixels * kVectors; index += kThreads) {
      const int pixel = index / kVectors, output = index % kVectors * kVector<T>;
      const Place place = problem.tiling.place(pixel);
      T* to = gradients + pixel * Memory::kGradientLength + output;
      if (tile.holds(problem.sampling, place)) {
        const int64_t from = tile.output_pixel(problem.sampling, place) * problem.out_channels + channel + output;
        copy_some(to, problem.grad_output + from, outputs - output, problem.gradient_aligned);
      } else {
        store<T, kVector<T>>(to, no_numbers<T>());
      }
    }
  }

  // Before they are rounded: a sum of numbers is not a product. Each thread takes a quarter of the tile for one output.
  ACU_DEVICE void add_bias() {
    constexpr int kPart = kTilePixels / (kThreads / kBlockOutputs);
    if (problem.bias_sums != nullptr && blockIdx.z == 0) {
      const T* column =
          gradients + threadIdx.x / kBlockOutputs * kPart * Memory::kGradientLength + threadIdx.x % kBlockOutputs;
      for (int pixel = 0; pixel < kPart; ++pixel) bias += static_cast<float>(column[pixel * Memory::kGradientLength]);
    }
  }

  ACU_DEVICE void add_tile(const Tile& tile, int first_cell, int cells) {
    const ChannelChunk<T> chunk{
        problem.image, problem.geometry.channels,
        problem.geometry.group_of_segment(segment) * problem.geometry.group_channels + first_channel, channels,
        problem.image_aligned};
    const bool one_window = table->one_window;
    const Window box = table->window;
    bool strange = false;
    if (one_window) {
      strange = read_window<T, kBlockChannels / kVector<T>>(window, chunk, problem.sampling, problem.tiling, tile, box);
    }
    await_copies();
    // In a window, the pixels that a tile at the border lacks have neighbours too. Their grad_output is 0, but 0 times an
    // inf of the image is NaN: then each cell has a window of its own, in which they are 0 as well.
    // The barrier: grad_output is there, the window, and where the cells lie.
    const bool apart_from_all = __syncthreads_or(strange && !tile.is_whole(problem.sampling, problem.tiling));
    if (first_cell == 0) add_bias();
    if (one_window && !apart_from_all) {
      const int apart = problem.tiling.over_images ? box.pixels() : problem.sampling.stride_w;
      for (int line = 0; line < kLines; ++line) add_line(line, window, table->line[line], apart, 0, cells, true);
      return;
    }
    for (int cell = 0; cell < cells; ++cell) {
      if (table->offset[cell] < 0) continue;
      __syncthreads();  // the products with the last window are done
      load_cell(chunk, tile, first_cell + cell);
      __syncthreads();
      for (int line = 0; line < kLines; ++line) add_line(line, window, line * kDepth, 1, cell, cell + 1, false);
    }
  }

  // The pixels that one cell of each pixel of the tile is.
  ACU_DEVICE void load_cell(const ChannelChunk<T>& chunk, const Tile& tile, int cell) {
    constexpr int kVectors = kBlockChannels / kVector<T>;
    for (int index = threadIdx.x; index < kTilePixels * kVectors; index += kThreads) {
      const int pixel = index / kVectors, channel = index % kVectors * kVector<T>;
      const Place place = problem.tiling.place(pixel);
      const Sampling& sampling = problem.sampling;
      const int y = (tile.row + place.row) * sampling.stride_h - sampling.pad_top + table->list.cell_row[cell];
      const int x = (tile.column + place.column) * sampling.stride_w - sampling.pad_left + table->list.cell_column[cell];
      Vector<T> numbers = no_numbers<T>();
      if (tile.holds(sampling, place) && static_cast<unsigned>(y) < static_cast<unsigned>(sampling.height) &&
          static_cast<unsigned>(x) < static_cast<unsigned>(sampling.width)) {
        const int64_t from = (tile.image + place.image) * sampling.image_pixels() + int64_t{y} * sampling.width + x;
        numbers = rounded_vector(load_some(chunk.image + from * chunk.pixel_length + chunk.channel + channel,
                                           chunk.count - channel, chunk.aligned));
      }
      store<T, kVector<T>>(window + index * kVector<T>, numbers);
    }
  }

  static ACU_DEVICE int first_output_of(int warp) { return warp % 2 * kOutputFragments * kSide; }

  // A line of pixels: cells [begin, end) that this warp has.
  ACU_DEVICE void add_line(int line, const T* pixels, int first, int apart, int begin, int end, bool shifted) {
    const int warp = threadIdx.x / kWarp;
    if (first_output_of(warp) >= outputs) return;
    LeftFragment<T, nvcuda::wmma::col_major> left[kOutputFragments];
    ACU_UNROLL
    for (int j = 0; j < kOutputFragments; ++j) {
      const int output = first_output_of(warp) + j * kSide;
      load_fragment<T>(left[j], gradients + line * kDepth * Memory::kGradientLength + output, Memory::kGradientLength);
      round_fragment(left[j]);
    }
    ACU_UNROLL
    for (int i = 0; i < kWarpCells; ++i) {
      const int cell = i * kCellClasses + warp / 2;
      if (cell < begin || cell >= end || table->offset[cell] < 0) continue;
      RightFragment<T> right;
      load_fragment<T>(right, pixels + (first + (shifted ? table->offset[cell] : 0)) * kBlockChannels,
                       apart * kBlockChannels);
      ACU_UNROLL
      for (int j = 0; j < kOutputFragments; ++j) nvcuda::wmma::mma_sync(sums[i][j], left[j], right, sums[i][j]);
    }
  }

  template <typename Fragment>
  static ACU_DEVICE void round_fragment(Fragment& fragment) {
    if constexpr (std::is_same_v<T, float>) {
      ACU_UNROLL
      for (int i = 0; i < fragment.num_elements; ++i) fragment.x[i] = Operand<T>::rounded(fragment.x[i]);
    }
  }

  ACU_DEVICE void complete_sums(int cells) {
    const int warp = threadIdx.x / kWarp;
    ACU_UNROLL
    for (int i = 0; i < kWarpCells; ++i) {
      const int cell = i * kCellClasses + warp / 2;
      if (cell >= cells) continue;
      ACU_UNROLL
      for (int j = 0; j < kOutputFragments; ++j) {
        const int output = first_output_of(warp) + j * kSide;
        nvcuda::wmma::store_matrix_sync(complete + cell * kBlockElements + output * kBlockChannels, sums[i][j],
                                        kBlockChannels, nvcuda::wmma::mem_row_major);
      }
    }
  }

  // Where a corner's sums stand among those that are complete; -1 if its turn is another, or if it counts nothing.
  ACU_DEVICE int turn(int corner, int first_cell, int cells) const {
    const int cell = table->list.cell[corner] - first_cell;
    return cell >= 0 && cell < cells ? cell : -1;
  }

  // The gradients of weights and positions that the cells at hand give. Later cells are added to what this thread wrote
  // for earlier ones.
  ACU_DEVICE void blend_sums(int first_cell, int cells) const {
    const Geometry& geometry = problem.geometry;
    const int64_t output = int64_t{segment} * problem.segment_outputs() + first_output;
    const int warp = threadIdx.x / kWarp;
    for (int synapse = 0; synapse < geometry.synapses; ++synapse) {
      const Displacement<float> d = table->list.displacements[synapse];
      float y = 0.0f, x = 0.0f;
      ACU_UNROLL
      for (int i = 0; i < kElements; ++i) {
        const int element = i * kThreads + threadIdx.x;
        const int o = element / kBlockChannels, c = element % kBlockChannels;
        if (o >= outputs || c >= channels) continue;
        CornerCoefficients sums{0.0f, 0.0f, 0.0f};
        ACU_UNROLL
        for (int corner = 0; corner < kCorners; ++corner) {
          const int cell = turn(synapse * kCorners + corner, first_cell, cells);
          if (cell < 0) continue;
          const CornerCoefficients coefficients = corner_coefficients(d, corner);
          const float sum = complete[cell * kBlockElements + element];
          sums.value += weighted(coefficients.value, sum);
          sums.by_y += weighted(coefficients.by_y, sum);
          sums.by_x += weighted(coefficients.by_x, sum);
        }
        if (problem.weight_sums != nullptr) {
          float* sum = problem.weight_sums +
                       ((blockIdx.x * int64_t{problem.out_channels} + output + o) * geometry.synapses + synapse) *
                           geometry.group_channels +
                       first_channel + c;
          *sum = first_cell == 0 ? sums.value : *sum + sums.value;
        }
        if (problem.position_sums != nullptr) {
          const float weight = static_cast<float>(
              problem.weight[((output + o) * geometry.group_channels + first_channel + c) * geometry.synapses + synapse]);
          y += weight * sums.by_y;
          x += weight * sums.by_x;
        }
      }
      if (problem.position_sums == nullptr) continue;
      y = sum_of_warp(y);
      x = sum_of_warp(x);
      if (threadIdx.x % kWarp == 0) {
        float(&moved)[2] = table->moved[warp][synapse];
        moved[0] = first_cell == 0 ? y : moved[0] + y;
        moved[1] = first_cell == 0 ? x : moved[1] + x;
      }
    }
  }

  // What threads share the work on: added up in the order of warps, and of threads.
  ACU_DEVICE void write_rest() {
    const int synapses = problem.geometry.synapses;
    float* parted = complete;
    parted[threadIdx.x] = bias;  // in place of a sum that this thread alone has read
    __syncthreads();
    if (problem.position_sums != nullptr && static_cast<int>(threadIdx.x) < 2 * synapses) {
      const int synapse = threadIdx.x / 2, axis = threadIdx.x % 2;
      float sum = 0.0f;
      for (int warp = 0; warp < kWarps; ++warp) sum += table->moved[warp][synapse][axis];
      const int64_t block =
          (int64_t{blockIdx.y} * problem.stretches + blockIdx.x) * problem.channel_blocks() + blockIdx.z;
      problem.position_sums[(block * synapses + synapse) * 2 + axis] = sum;
    }
    if (problem.bias_sums != nullptr && blockIdx.z == 0 && static_cast<int>(threadIdx.x) < outputs) {
      float sum = 0.0f;
      for (int part = 0; part < kThreads / kBlockOutputs; ++part) {
        sum += parted[part * kBlockOutputs + threadIdx.x];
      }
      problem.bias_sums[blockIdx.x * int64_t{problem.out_channels} + int64_t{segment} * problem.segment_outputs() +
                        first_output + threadIdx.x] = sum;
    }
  }
};

#endif

}  // namespace acu::cuda
