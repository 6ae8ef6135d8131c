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
// A block sums over a stretch of tiles for 64 outputs, 16 channels and 16 cells at a time and leaves D in the GPU's
// memory; another kernel adds the stretches up, always in the same order, and blends (fused_sums.cuh).
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
  static constexpr int kOutputVectors = kBlockOutputs / kVector<T>;

  const CornerProblem<T>& problem;
  CornerTable* table;
  T *gradients, *window;
  int segment, first_output, outputs, first_channel, channels;
  float bias = 0.0f;
  SumFragment<T> sums[kWarpCells][kOutputFragments];

  ACU_DEVICE CornerProducts(const CornerProblem<T>& problem, unsigned char* shared)
      : problem(problem),
        table(reinterpret_cast<CornerTable*>(shared)),
        gradients(reinterpret_cast<T*>(shared + Memory::kTable)),
        window(reinterpret_cast<T*>(shared + Memory::kTable + Memory::kGradients)) {
    segment = blockIdx.y / problem.segment_blocks();
    first_output = (blockIdx.y - segment * problem.segment_blocks()) * kBlockOutputs;
    outputs = min_of(problem.segment_outputs() - first_output, kBlockOutputs);
    first_channel = blockIdx.z * kBlockChannels;
    channels = min_of(problem.geometry.group_channels - first_channel, kBlockChannels);
  }

  ACU_DEVICE void run() {
    const int group = problem.geometry.position_group_of_segment(segment), synapses = problem.geometry.synapses;
    list_cells(table->list, problem.positions + 2 * int64_t{group} * synapses, synapses,
               problem.weights, problem.positions_too);
    if (blockIdx.x == 0 && blockIdx.z == 0) write_cells();
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
      write_sums(first_cell, cells);
      __syncthreads();  // nobody needs what these cells have in common any more
    }
    write_bias();
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
    table->fits = is_near(first_cell, cells);
    if (!table->fits) return;
    Window all = window_of(first_cell);
    for (int cell = 1; cell < cells; ++cell) all.widen(window_of(first_cell + cell));
    table->fits = table->one_window = all.fits(problem.tiling, Memory::kCapacity);
    if (!table->fits) return;
    table->window = all;
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
    const int64_t channel = int64_t{segment} * problem.segment_outputs() + first_output;
    const bool whole = tile.is_whole(problem.sampling, problem.tiling);
    for (int index = threadIdx.x; index < kTilePixels * kOutputVectors; index += kThreads) {
      const int pixel = index / kOutputVectors, output = index % kOutputVectors * kVector<T>;
      const Place place = problem.tiling.place(pixel);
      T* to = gradients + pixel * Memory::kGradientLength + output;
      if (whole || tile.holds(problem.sampling, place)) {
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
    if (one_window && box.pixels() == 0) return;  // no cell is seen
    if (one_window && !apart_from_all) {
      const int apart = problem.tiling.over_images ? box.pixels() : problem.sampling.stride_w;
      int offsets[kWarpCells];
      ACU_UNROLL
      for (int i = 0; i < kWarpCells; ++i) offsets[i] = cell_of_warp(i) < cells ? table->offset[cell_of_warp(i)] : -1;
      for (int line = 0; line < kLines; ++line) add_line(line, table->line[line], apart, offsets);
      return;
    }
    for (int cell = 0; cell < cells; ++cell) {
      if (table->offset[cell] < 0) continue;
      __syncthreads();  // the products with the last window are done
      load_cell(chunk, tile, first_cell + cell);
      __syncthreads();
      int offsets[kWarpCells];
      ACU_UNROLL
      for (int i = 0; i < kWarpCells; ++i) offsets[i] = cell_of_warp(i) == cell ? 0 : -1;
      for (int line = 0; line < kLines; ++line) add_line(line, line * kDepth, 1, offsets);
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

  static ACU_DEVICE int first_output_of_warp() {
    return static_cast<int>(threadIdx.x) / kWarp % 2 * kOutputFragments * kSide;
  }
  static ACU_DEVICE int cell_of_warp(int number) {
    return number * kCellClasses + static_cast<int>(threadIdx.x) / kWarp / 2;
  }

  // A line of pixels, the first of which is `first` in the window: those of this warp's cells that have an offset there.
  ACU_DEVICE void add_line(int line, int first, int apart, const int (&offsets)[kWarpCells]) {
    if (first_output_of_warp() >= outputs) return;
    LeftFragment<T, nvcuda::wmma::col_major> left[kOutputFragments];
    ACU_UNROLL
    for (int j = 0; j < kOutputFragments; ++j) {
      const int output = first_output_of_warp() + j * kSide;
      load_fragment<T>(left[j], gradients + line * kDepth * Memory::kGradientLength + output, Memory::kGradientLength);
      round_fragment(left[j]);
    }
    // All are on their way before the first is multiplied; of a cell that is not there, the window's first pixels.
    RightFragment<T> right[kWarpCells];
    ACU_UNROLL
    for (int i = 0; i < kWarpCells; ++i) {
      load_fragment<T>(right[i], window + (offsets[i] < 0 ? 0 : first + offsets[i]) * kBlockChannels,
                       apart * kBlockChannels);
    }
    ACU_UNROLL
    for (int i = 0; i < kWarpCells; ++i) {
      if (offsets[i] < 0) continue;
      ACU_UNROLL
      for (int j = 0; j < kOutputFragments; ++j) nvcuda::wmma::mma_sync(sums[i][j], left[j], right[i], sums[i][j]);
    }
  }

  template <typename Fragment>
  static ACU_DEVICE void round_fragment(Fragment& fragment) {
    if constexpr (std::is_same_v<T, float>) {
      ACU_UNROLL
      for (int i = 0; i < fragment.num_elements; ++i) fragment.x[i] = Operand<T>::rounded(fragment.x[i]);
    }
  }

  ACU_DEVICE void write_cells() const {
    CornerCells& cells = problem.cells[blockIdx.y];
    for (int corner = threadIdx.x; corner < problem.most_cells(); corner += kThreads) {
      cells.cell[corner] = table->list.cell[corner];
      if (corner % kCorners == 0) cells.displacements[corner / kCorners] = table->list.displacements[corner / kCorners];
    }
    if (threadIdx.x == 0) cells.count = table->list.cells;
  }

  ACU_DEVICE void write_sums(int first_cell, int cells) const {
    float* stretch = problem.cell_sums + blockIdx.x * problem.stretch_sums();
    ACU_UNROLL
    for (int i = 0; i < kWarpCells; ++i) {
      if (cell_of_warp(i) >= cells) continue;
      float* to = stretch + problem.first_sum(blockIdx.y, blockIdx.z, first_cell + cell_of_warp(i));
      ACU_UNROLL
      for (int j = 0; j < kOutputFragments; ++j) {
        const int output = first_output_of_warp() + j * kSide;
        if (output >= outputs) continue;
        nvcuda::wmma::store_matrix_sync(to + output * kBlockChannels, sums[i][j], kBlockChannels,
                                        nvcuda::wmma::mem_row_major);
      }
    }
  }

  // What threads share the work on, added up in their order.
  ACU_DEVICE void write_bias() {
    if (problem.bias_sums == nullptr || blockIdx.z != 0) return;
    float* parted = reinterpret_cast<float*>(gradients);
    parted[threadIdx.x] = bias;
    __syncthreads();
    if (static_cast<int>(threadIdx.x) >= outputs) return;
    float sum = 0.0f;
    for (int part = 0; part < kThreads / kBlockOutputs; ++part) sum += parted[part * kBlockOutputs + threadIdx.x];
    problem.bias_sums[blockIdx.x * int64_t{problem.out_channels} + int64_t{segment} * problem.segment_outputs() +
                      first_output + threadIdx.x] = sum;
  }
};

#endif

}  // namespace acu::cuda
