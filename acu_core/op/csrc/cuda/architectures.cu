// Which architectures the CUDA kernels were compiled for, for `acu doctor`: nvcc defines the list itself.

#include <cstdint>
#include <vector>

#include <torch/csrc/stable/library.h>

namespace acu {

namespace {

std::vector<int64_t> cuda_architectures() { return {__CUDA_ARCH_LIST__}; }

}  // namespace

}  // namespace acu

STABLE_TORCH_LIBRARY_IMPL(acu, CompositeExplicitAutograd, m) {
  m.impl("cuda_architectures", TORCH_BOX(&acu::cuda_architectures));
}
