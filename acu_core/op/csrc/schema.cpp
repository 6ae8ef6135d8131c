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
  // Which kernels a call takes from now on: 0 columns, 1 the fused ones where they support it, 2 those that are chosen for
  // calls of its kind, else columns. Answered by `_C_cuda`.
  m.def("set_cuda_kernels(int choice) -> ()");
  m.def("cuda_kernels() -> int");
  // Of the calling thread's own calls, above all else; negative: none. Gives back what held before. Answered by `_C_cuda`.
  m.def("force_cuda_kernels(int choice) -> int");
  // The kernels for calls of this kind: of forward with -1 as `needs`, else of backward, a bit for each gradient (input,
  // weight, positions, bias). Answered by `_C_cuda`.
  m.def(
      "choose_cuda_kernels(Tensor input, Tensor weight, Tensor positions, "
      "int[] stride, int[] padding, int groups, bool channels_last, int needs, int choice) -> ()");
  m.def("forget_cuda_kernels() -> ()");
  // Whether the fused kernels may round what they multiply to TF32; without it they take no float32. Answered by `_C_cuda`.
  m.def("set_cuda_tf32(bool allowed) -> ()");
  m.def("cuda_tf32() -> bool");
  // Whether the fused kernels take a call, as far as its tensors' shapes, dtypes and device decide. Answered by `_C_cuda`.
  m.def(
      "cuda_fused_supports(Tensor input, Tensor weight, Tensor positions, "
      "int[] stride, int[] padding, int groups) -> bool");
}
