// The schema of the operators, and nothing else. Kernels register themselves: cpu/ in this library, cuda/ in
// `_C_cuda`. Fake kernels, autograd and argument checks live in Python (registrations.py, functional.py).
//
// `stride` is (h, w); `padding` is (top, bottom, left, right), that of a 1x1 convolution, each side on its own and possibly
// negative. `channels_last` is decided once, in Python, and obeyed by kernel and fake kernel alike for the output and for
// the input's gradient.

#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(acu, m) {
  m.def(
      "active_conv2d(Tensor input, Tensor weight, Tensor positions, Tensor? bias, "
      "int[] stride, int[] padding, int groups, bool channels_last) -> Tensor");
  m.def(
      "active_conv2d_backward(Tensor grad_output, Tensor input, Tensor weight, Tensor positions, "
      "int[] stride, int[] padding, int groups, bool channels_last, "
      "bool need_input, bool need_weight, bool need_positions, bool need_bias) "
      "-> (Tensor, Tensor, Tensor, Tensor)");
  // With a negative number: which instruction set the CPU kernels use. Else: use that one from now on.
  m.def("cpu_instruction_set(int choice) -> int");
  // As nvcc numbers them: 800 is 8.0. Answered by `_C_cuda`.
  m.def("cuda_architectures() -> int[]");
  // How much memory the columns of a call may take. With a positive number: that many from now on. Answered by `_C_cuda`.
  m.def("cuda_scratch_bytes(int choice) -> int");
}
