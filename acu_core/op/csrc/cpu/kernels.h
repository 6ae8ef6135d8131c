// Everything that is compiled once for each instruction set. The file that includes this one sets the target and
// defines ACU_INSTRUCTION_SET, ACU_VECTOR_BYTES, ACU_PANEL_VECTORS, ACU_WALK_VECTORS, ACU_MICRO_ROWS, ACU_TILE_PIXELS and
// ACU_BLOCK_COLUMNS.

#pragma once

#include "spread.h"
#include "tile.h"
#include "tile_backward.h"

namespace acu::ACU_INSTRUCTION_SET {

template <class T>
const Kernels<T>& table() {
  static const Kernels<T> kernels{{Wide<T>::kLanes, kPanel<T>, ACU_TILE_PIXELS, ACU_BLOCK_COLUMNS}, &forward<T>, &backward<T>,
                                  &forward_by_spreading<T>};
  return kernels;
}

template const Kernels<float>& table<float>();
template const Kernels<double>& table<double>();

}  // namespace acu::ACU_INSTRUCTION_SET
