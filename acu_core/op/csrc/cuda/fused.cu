// The fused kernels, compiled apart from the column path: they take most of the compiler's time.
#include "active_conv2d.cuh"
#include "kernel_choice.cuh"

namespace acu::cuda {

bool fused_supports(const Tensor&, const Tensor&, const Tensor&, const std::vector<int64_t>&,
                    const std::vector<int64_t>&, int64_t) {
  return false;
}

Tensor fused_active_conv2d(Tensor, Tensor, Tensor, std::optional<Tensor>, std::vector<int64_t>, std::vector<int64_t>,
                           int64_t, bool) {
  STD_TORCH_CHECK(false, "active_conv2d: there are no fused kernels for this call");
}

std::tuple<Tensor, Tensor, Tensor, Tensor> fused_active_conv2d_backward(Tensor, Tensor, Tensor, Tensor,
                                                                        std::vector<int64_t>, std::vector<int64_t>,
                                                                        int64_t, bool, bool, bool, bool, bool) {
  STD_TORCH_CHECK(false, "active_conv2d: there are no fused kernels for this call");
}

}  // namespace acu::cuda
