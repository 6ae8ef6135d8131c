// Cells: a synapse blends four pixels of the image (its *corners*), whose places against the output pixel are whole
// numbers, the same for all output pixels. Synapses share cells: 3x3 on the grid has 9, between pixels 16, a trained shape
// 16 to 25. What is linear in a cell's pixels needs no blending of pixels: the blended weight does.
#pragma once

#include "fused_tiles.cuh"

namespace acu::cuda {

// More do not fit into the tables in shared memory.
constexpr int kMostSynapses = 64;
constexpr int kCorners = 4;
constexpr int kMostCells = kCorners * kMostSynapses;

// What a corner counts: in the value, in its derivative by y and in that by x.
struct CornerCoefficients {
  float value, by_y, by_x;
};

ACU_HOST_DEVICE CornerCoefficients corner_coefficients(const Displacement<float>& d, int corner) {
  const bool below = corner / 2 != 0, beside = corner % 2 != 0;
  const float along_y = below ? d.down : 1.0f - d.down, along_x = beside ? d.right : 1.0f - d.right;
  return {along_y * along_x, below ? along_x : -along_x, beside ? along_y : -along_y};
}

// The cells of one position group, in shared memory.
struct CellTable {
  Displacement<float> displacements[kMostSynapses];
  int row[kMostCells], column[kMostCells];  // of a corner
  bool wanted[kMostCells], first[kMostCells];
  int cell[kMostCells];       // of a corner; -1 if it counts nothing
  int following[kMostCells];  // of a corner: the next with the same cell, or -1
  int cell_row[kMostCells], cell_column[kMostCells];
  int first_corner[kMostCells];  // of a cell
  int cells;
};

#ifdef ACU_HAS_TENSOR_CORES

// The cells of all corners that count anything, in the value or in a derivative, whichever is asked for: each once, in
// the order of their first corners. By all threads of a block, which have met when this is over. Nothing is left early,
// so that many loads are on their way at once.
ACU_DEVICE void list_cells(CellTable& table, const float* positions, int synapses, bool value, bool derivatives) {
  const int corners = synapses * kCorners;
  for (int corner = threadIdx.x; corner < corners; corner += kThreads) {
    const int synapse = corner / kCorners;
    const auto d = displacement(positions + 2 * synapse);
    if (corner % kCorners == 0) table.displacements[synapse] = d;
    const CornerCoefficients coefficients = corner_coefficients(d, corner % kCorners);
    table.row[corner] = d.row + corner % kCorners / 2;
    table.column[corner] = d.column + corner % 2;
    table.wanted[corner] = (value && coefficients.value != 0.0f) ||
                           (derivatives && (coefficients.by_y != 0.0f || coefficients.by_x != 0.0f));
  }
  __syncthreads();
  for (int corner = threadIdx.x; corner < corners; corner += kThreads) {
    const int row = table.row[corner], column = table.column[corner];
    const bool wanted = table.wanted[corner];
    int first = corners, following = corners;
    for (int other = 0; other < corners; ++other) {
      const bool same = wanted && table.wanted[other] && table.row[other] == row && table.column[other] == column;
      first = same && other < first ? other : first;
      following = same && other > corner && other < following ? other : following;
    }
    table.first[corner] = first == corner;
    table.cell[corner] = wanted ? first : -1;
    table.following[corner] = following < corners ? following : -1;
  }
  __syncthreads();
  for (int corner = threadIdx.x; corner < corners; corner += kThreads) {
    const int first = table.cell[corner];
    int cell = 0, all = 0;
    for (int other = 0; other < corners; ++other) {
      const int counted = table.first[other];
      cell += other < first ? counted : 0;
      all += counted;
    }
    if (first == corner) {
      table.cell_row[cell] = table.row[corner];
      table.cell_column[cell] = table.column[corner];
      table.first_corner[cell] = corner;
    }
    table.cell[corner] = first < 0 ? -1 : cell;
    if (corner == 0) table.cells = all;
  }
  __syncthreads();
}

#endif

}  // namespace acu::cuda
