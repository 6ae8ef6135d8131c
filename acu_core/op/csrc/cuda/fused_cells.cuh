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
  int cell[kMostCells];  // of a corner; -1 if it counts nothing
  int cell_row[kMostCells], cell_column[kMostCells];
  int cells;
};

#ifdef ACU_HAS_TENSOR_CORES

// The first corner with this one's cell, or -1 if it counts nothing.
ACU_DEVICE int first_of(const CellTable& table, int corner) {
  if (!table.wanted[corner]) return -1;
  for (int before = 0; before < corner; ++before) {
    if (table.wanted[before] && table.row[before] == table.row[corner] &&
        table.column[before] == table.column[corner]) {
      return before;
    }
  }
  return corner;
}

// The cells of all corners that count anything, in the value or in a derivative, whichever is asked for: each once, in
// the order of their first corners. By all threads of a block, which have met when this is over.
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
    const int same = first_of(table, corner);
    table.first[corner] = same == corner;
    table.cell[corner] = same;
  }
  __syncthreads();
  for (int corner = threadIdx.x; corner < corners; corner += kThreads) {
    const int same = table.cell[corner];
    int cell = -1;
    if (same >= 0) {
      cell = 0;
      for (int before = 0; before < same; ++before) cell += table.first[before];
      if (same == corner) {
        table.cell_row[cell] = table.row[corner];
        table.cell_column[cell] = table.column[corner];
      }
    }
    table.cell[corner] = cell;
    if (corner == corners - 1) {
      int cells = 0;
      for (int before = 0; before < corners; ++before) cells += table.first[before];
      table.cells = cells;
    }
  }
  __syncthreads();
}

#endif

}  // namespace acu::cuda
