// Everything that is compiled once for each instruction set. The file that includes this one sets the target and
// defines ACU_INSTRUCTION_SET, ACU_VECTOR_BYTES, ACU_PANEL_VECTORS and ACU_MICRO_ROWS.

#pragma once

#include "tile.h"
#include "tile_backward.h"

namespace acu::ACU_INSTRUCTION_SET {

template <class T>
const Kernels<T>& table() {
  static const Kernels<T> kernels{{Wide<T>::kLanes, kPanel<T>}, &forward<T>, &backward<T>};
  return kernels;
}

template const Kernels<float>& table<float>();
template const Kernels<double>& table<double>();

}  // namespace acu::ACU_INSTRUCTION_SET
