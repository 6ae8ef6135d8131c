// Stride and paddings of a call, in the one order that all use: the schema, the kernels of the CPU and those of CUDA, and
// Python (paddings.py). Needs no torch.

#pragma once

#include <cstdint>

namespace acu {

struct Stride {
  int64_t h, w;
};

// Of a 1x1 convolution, each side on its own; a negative one crops.
struct Paddings {
  int64_t top, bottom, left, right;
};

}  // namespace acu
