// Which gradients a backward gives; the others come empty.
#pragma once

namespace acu::cuda {

struct Needs {
  bool input, weight, positions, bias;
};

}  // namespace acu::cuda
