// The weights of cells, V in fused_product.cuh: what each cell counts in each synapse, times the synapse's weight. They
// are rounded once, where a column would be, and lie as they will in shared memory, padding included. The same kernel
// lists the cells.
#pragma once

#include "fused_product.cuh"

namespace acu::cuda {

constexpr int64_t kFoldBlocks = 528;  // four for each multiprocessor of an H100

// grid: (fold_blocks, blocks of result channels, sources).
template <typename T, int OutputFragments>
struct FoldedWeights {
  using Memory = ProductMemory<T, OutputFragments>;
  static constexpr int64_t kBytes = sizeof(CellTable);
  static constexpr int kVectors = Memory::kWeightLength / kVector<T>;

  const ProductProblem<T>& problem;
  CellTable* table;

  static ACU_HOST_DEVICE int64_t numbers(const ProductProblem<T>& problem, int64_t result_blocks) {
    return result_blocks * problem.sources * problem.chunks * problem.most_cells() * Memory::kCellWeights;
  }
  // As many as have a vector for each thread where there are as many cells as between pixels, or as fill a GPU.
  static ACU_HOST_DEVICE int blocks(const ProductProblem<T>& problem, int64_t units) {
    const int64_t vectors = int64_t{problem.chunks} * 2 * problem.geometry.synapses * Memory::kDepth * kVectors;
    const int64_t wanted = (vectors + kThreads - 1) / kThreads, most = (kFoldBlocks + units - 1) / units;
    return static_cast<int>(wanted < most ? wanted : most);
  }

#ifdef ACU_HAS_TENSOR_CORES

  ACU_DEVICE FoldedWeights(const ProductProblem<T>& problem, unsigned char* shared)
      : problem(problem), table(reinterpret_cast<CellTable*>(shared)) {}

  ACU_DEVICE void run() {
    const int synapses = problem.geometry.synapses, source = blockIdx.z;
    const int bundle = blockIdx.y / problem.blocks_each, segment = problem.segment(bundle, source);
    const int group = problem.geometry.position_group_of_segment(segment);
    list_cells(*table, problem.positions + 2 * int64_t{group} * synapses, synapses, true, false);
    const int64_t unit = int64_t{blockIdx.y} * problem.sources + source;
    if (blockIdx.x == 0) write_list(problem.lists[unit]);
    // Neighbouring threads have neighbouring channels of the weight.
    const int cells = table->cells, first = (blockIdx.y - bundle * problem.blocks_each) * Memory::kOutputs;
    const int count = problem.chunks * cells * kVectors * Memory::kDepth;
    for (int index = blockIdx.x * kThreads + threadIdx.x; index < count; index += problem.fold_blocks * kThreads) {
      const int depth = index % Memory::kDepth, above = index / Memory::kDepth;
      const int vector = above % kVectors, place = above / kVectors;
      const int chunk = place / cells, cell = place - chunk * cells;
      const int channel = chunk * Memory::kDepth + depth;
      float sums[kVector<T>];
      ACU_UNROLL
      for (int i = 0; i < kVector<T>; ++i) sums[i] = 0.0f;
      if (channel < problem.source_channels && vector < kVectors - 1) {
        add_corners(sums, segment, channel, first + vector * kVector<T>, cell);
      }
      T* to = problem.folded + ((unit * problem.chunks + chunk) * problem.most_cells() + cell) * Memory::kCellWeights +
              depth * Memory::kWeightLength + vector * kVector<T>;
      store<T, kVector<T>>(to, pack<T>(sums));
    }
  }

 private:
  ACU_DEVICE void write_list(CellList& list) const {
    for (int cell = threadIdx.x; cell < table->cells; cell += kThreads) {
      list.row[cell] = table->cell_row[cell];
      list.column[cell] = table->cell_column[cell];
    }
    if (threadIdx.x != 0) return;
    bool finite = true;
    for (int synapse = 0; synapse < problem.geometry.synapses; ++synapse) {
      finite = finite && table->displacements[synapse].is_finite();
    }
    list.count = table->cells;
    list.finite = finite;
  }

  // channel: of the source; across: the first of the vector's channels of the result.
  ACU_DEVICE void add_corners(float (&sums)[kVector<T>], int segment, int channel, int across, int cell) const {
    const Geometry& geometry = problem.geometry;
    const int64_t step = int64_t{problem.mirrored ? 1 : geometry.group_channels} * geometry.synapses;
    const int64_t first_output = int64_t{segment} * problem.segment_outputs;
    const T* weight = problem.weight + (problem.mirrored ? (first_output + channel) * geometry.group_channels + across
                                                         : (first_output + across) * geometry.group_channels + channel) *
                                           geometry.synapses;
    const int count = problem.bundle_channels - across;
    for (int corner = table->first_corner[cell]; corner >= 0; corner = table->following[corner]) {
      const int synapse = corner / kCorners;
      const float coefficient = corner_coefficients(table->displacements[synapse], corner % kCorners).value;
      ACU_UNROLL
      for (int i = 0; i < kVector<T>; ++i) {
        if (i < count) sums[i] += coefficient * static_cast<float>(weight[i * step + synapse]);
      }
    }
  }

#endif
};

}  // namespace acu::cuda
