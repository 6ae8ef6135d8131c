// The operator by fused kernels: two launches forward (the weights of cells; the product), five backward (both for the
// input's gradient; the sums of cells and bias; what they give for weights; the rest for positions and bias). A tensor that is not in channels_last is copied on the way in and out, as on the
// column path.
#pragma once

#include <optional>
#include <tuple>
#include <vector>

#include "arguments.cuh"
#include "fused_launch.cuh"
#include "fused_plan.cuh"
#include "matrices.cuh"

namespace acu::cuda {

template <typename T>
class C10_HIDDEN FusedConvolution {
 public:
  FusedConvolution(const Tensor& input, const Tensor& weight, const Tensor& positions, const Geometry& geometry)
      : geometry_(geometry),
        launcher_(input),
        input_(stable::contiguous(input, MemoryFormat::ChannelsLast)),
        weight_(stable::contiguous(weight)),
        positions_(stable::contiguous(positions)),
        images_(input.size(0)),
        outputs_(static_cast<int>(weight.size(0))) {}

  Tensor forward(const std::optional<Tensor>& bias, bool channels_last) const {
    const Tensor output = new_image(outputs_, geometry_.out_height, geometry_.out_width);
    if (images_ == 0) return in_this_layout(output, channels_last);
    std::optional<Tensor> packed;
    if (bias.has_value()) packed = stable::contiguous(*bias);
    multiply(input_, packed.has_value() ? &*packed : nullptr, output, false);
    return in_this_layout(output, channels_last);
  }

  struct Needs {
    bool input, weight, positions, bias;
  };

  std::tuple<Tensor, Tensor, Tensor, Tensor> backward(const Tensor& grad_output, bool channels_last,
                                                      const Needs& needs) const {
    Tensor grad_input = no_gradient(input_), grad_weight = no_gradient(weight_);
    Tensor grad_positions = no_gradient(positions_), grad_bias = no_gradient(weight_);
    if (needs.weight) grad_weight = empty_like_kind(weight_, {outputs_, weight_.size(1), weight_.size(2)});
    if (needs.positions) grad_positions = empty_like_kind(positions_, {positions_.size(0), positions_.size(1), 2});
    const bool corners = needs.weight || needs.positions;
    if (needs.bias) {
      grad_bias =
          corners && images_ > 0 ? empty_like_kind(weight_, {outputs_}) : stable::sum(grad_output, Shape{0, 2, 3});
    }
    if (needs.input) grad_input = new_image(geometry_.channels, geometry_.height, geometry_.width);
    if (images_ == 0) {
      if (needs.weight) stable::zero_(grad_weight);
      if (needs.positions) stable::zero_(grad_positions);
    } else if (needs.input || corners) {
      const Tensor packed = stable::contiguous(grad_output, MemoryFormat::ChannelsLast);
      if (needs.input) {
        multiply(packed, nullptr, grad_input, true);
      }
      if (corners) {
        add_corners(packed, needs.weight ? &grad_weight : nullptr, needs.positions ? &grad_positions : nullptr,
                    needs.bias ? &grad_bias : nullptr);
      }
    }
    if (needs.input) grad_input = in_this_layout(grad_input, channels_last);
    return {grad_input, grad_weight, grad_positions, grad_bias};
  }

 private:
  template <typename Element>
  static Element* data(const Tensor& tensor) {
    return static_cast<Element*>(tensor.data_ptr());
  }

  // Whether vectors may be moved at once that begin at multiples of both numbers.
  static bool is_aligned(const Tensor& tensor, int64_t length, int64_t part) {
    return reinterpret_cast<uintptr_t>(tensor.data_ptr()) % 16 == 0 && length % kVector<T> == 0 &&
           part % kVector<T> == 0;
  }

  Tensor new_image(int64_t channels, int64_t height, int64_t width) const {
    return empty_like_kind(input_, {images_, channels, height, width}, MemoryFormat::ChannelsLast,
                           input_.scalar_type());
  }

  // Exactly the strides that the fake kernel promises: `contiguous` might hand a tensor with one channel back as it is.
  static Tensor in_this_layout(const Tensor& tensor, bool channels_last) {
    if (channels_last) return tensor;
    Tensor result = empty_like_kind(tensor, {tensor.size(0), tensor.size(1), tensor.size(2), tensor.size(3)});
    stable::copy_(result, tensor);
    return result;
  }

  void multiply(const Tensor& image, const Tensor* bias, const Tensor& result, bool mirrored) const {
    ProductProblem<T> problem = product_problem<T>(geometry_, images_, outputs_, mirrored);
    const auto plan = product_plan(problem);
    STD_TORCH_CHECK(plan.has_value(), "active_conv2d: the fused kernels do not take this call");
    problem.image = data<T>(image);
    problem.weight = data<T>(weight_);
    problem.positions = data<float>(positions_);
    problem.bias = bias == nullptr ? nullptr : data<T>(*bias);
    problem.result = data<T>(result);
    problem.image_aligned = is_aligned(image, problem.image_channels, problem.source_channels);
    problem.result_aligned = is_aligned(result, problem.result_channels, problem.bundle_channels);
    problem.at_once = plan->at_once;
    problem.capacity = plan->capacity;
    problem.blocks_each = ceiling(problem.bundle_channels, plan->fragments * kSide);
    const int64_t list_words = sizeof(CellList) / sizeof(float);
    const Tensor lists = empty_like_kind(positions_, {plan->blocks * problem.sources * list_words});
    problem.lists = reinterpret_cast<CellList*>(data<float>(lists));
    for_each_fragments([&](auto fragments) {
      constexpr int kFragments = decltype(fragments)::value;
      if (plan->fragments != kFragments) return;
      using Folded = FoldedWeights<T, kFragments>;
      const Tensor folded = empty_like_kind(weight_, {Folded::numbers(problem, plan->blocks)});
      problem.folded = data<T>(folded);
      problem.fold_blocks = Folded::blocks(problem, plan->blocks * problem.sources);
      launcher_.template run<Folded, 4>(problem, {problem.fold_blocks, plan->blocks, problem.sources}, Folded::kBytes);
      launcher_.template run<CellProduct<T, kFragments>, blocks_each(kFragments)>(
          problem, {problem.tiling.tiles(), plan->blocks, 1}, plan->bytes);
    });
  }

  void add_corners(const Tensor& grad_output, const Tensor* grad_weight, const Tensor* grad_positions,
                   const Tensor* grad_bias) const {
    CornerProblem<T> problem{};
    problem.geometry = geometry_;
    problem.sampling = forward_sampling(geometry_, images_);
    problem.tiling = corner_tiling<T>(problem.sampling);
    problem.image = data<T>(input_);
    problem.grad_output = data<T>(grad_output);
    problem.positions = data<float>(positions_);
    problem.out_channels = outputs_;
    problem.weights = grad_weight != nullptr;
    problem.positions_too = grad_positions != nullptr;
    problem.image_aligned = is_aligned(input_, geometry_.channels, geometry_.group_channels);
    problem.gradient_aligned = is_aligned(grad_output, outputs_, problem.segment_outputs());
    cut_into_stretches(problem);
    const Tensor cell_sums = empty_like_kind(positions_, {problem.stretches * problem.stretch_sums()});
    problem.cell_sums = data<float>(cell_sums);
    const int64_t cells_words = sizeof(CornerCells) / sizeof(float);
    const Tensor cells = empty_like_kind(positions_, {problem.output_blocks() * cells_words});
    problem.cells = reinterpret_cast<CornerCells*>(data<float>(cells));
    Tensor position_sums = no_gradient(positions_), bias_sums = position_sums;
    if (grad_positions != nullptr) {
      position_sums = empty_like_kind(positions_, {outputs_, problem.channel_blocks(), geometry_.synapses, 2});
    }
    if (grad_bias != nullptr) {
      bias_sums = empty_like_kind(positions_, {problem.stretches, outputs_});
      problem.bias_sums = data<float>(bias_sums);
    }
    launcher_.template run<CornerProducts<T>, 2>(
        problem, {problem.stretches, problem.output_blocks(), problem.channel_blocks()}, CornerMemory<T>::kBytes);
    const SumProblem<T> sums{problem,
                             data<T>(weight_),
                             grad_weight == nullptr ? nullptr : data<T>(*grad_weight),
                             grad_positions == nullptr ? nullptr : data<float>(position_sums),
                             grad_positions == nullptr ? nullptr : data<float>(*grad_positions),
                             grad_bias == nullptr ? nullptr : data<T>(*grad_bias)};
    launcher_.template run<SumOfCells<T>, 4>(
        sums, {kBlockOutputs, problem.output_blocks(), problem.channel_blocks()}, SumOfCells<T>::bytes(problem));
    const int64_t rest = sums.bias_blocks() + sums.position_blocks();
    if (rest > 0) launcher_.template run<SumOfRest<T>, 4>(sums, {rest, 1, 1}, SumOfRest<T>::kBytes);
  }

  Geometry geometry_;
  BlockLauncher launcher_;
  Tensor input_, weight_, positions_;
  int64_t images_;
  int outputs_;
};

// Calls function with a value of the element type; false for those that the fused kernels do not take.
template <typename Function>
bool with_fused_type(ScalarType dtype, const Function& function) {
  switch (dtype) {
    case ScalarType::Float:
      function(float{});
      return true;
    case ScalarType::Half:
      function(Half{});
      return true;
    case ScalarType::BFloat16:
      function(BFloat16{});
      return true;
    default:
      return false;
  }
}

inline bool fused_takes(const Geometry& geometry, ScalarType dtype, int64_t images, int64_t outputs, bool tf32) {
  bool fits = false;
  with_fused_type(dtype, [&](auto element) {
    using T = decltype(element);
    fits = (tf32 || !std::is_same_v<T, float>) && fused_fits<T>(geometry, images, outputs);
  });
  return fits;
}

inline Tensor fused_forward(const Tensor& input, const Tensor& weight, const Tensor& positions,
                            const std::optional<Tensor>& bias, const Settings& settings, bool channels_last) {
  const Geometry geometry = checked_geometry(input, weight, positions, settings);
  if (bias.has_value()) {
    STD_TORCH_CHECK(bias->dim() == 1 && bias->size(0) == weight.size(0), "active_conv2d: bias must be (O,)");
    check_companion(*bias, input, input.scalar_type(), "bias");
  }
  std::optional<Tensor> result;
  with_fused_type(input.scalar_type(), [&](auto element) {
    result = FusedConvolution<decltype(element)>(input, weight, positions, geometry).forward(bias, channels_last);
  });
  STD_TORCH_CHECK(result.has_value(), "active_conv2d: the fused kernels do not take this dtype");
  return *result;
}

inline std::tuple<Tensor, Tensor, Tensor, Tensor> fused_backward(const Tensor& grad_output, const Tensor& input,
                                                                 const Tensor& weight, const Tensor& positions,
                                                                 const Settings& settings, bool channels_last,
                                                                 bool need_input, bool need_weight, bool need_positions,
                                                                 bool need_bias) {
  const Geometry geometry = checked_geometry(input, weight, positions, settings);
  check_companion(grad_output, input, input.scalar_type(), "grad_output");
  STD_TORCH_CHECK(grad_output.dim() == 4 && grad_output.size(0) == input.size(0) &&
                      grad_output.size(1) == weight.size(0) && grad_output.size(2) == geometry.out_height &&
                      grad_output.size(3) == geometry.out_width,
                  "active_conv2d: grad_output must have the output's shape");
  STD_TORCH_CHECK(!need_input || !has_stride(geometry),
                  "active_conv2d: with a stride the input's gradient is not the fused kernels'");
  std::optional<std::tuple<Tensor, Tensor, Tensor, Tensor>> result;
  with_fused_type(input.scalar_type(), [&](auto element) {
    using Convolution = FusedConvolution<decltype(element)>;
    result = Convolution(input, weight, positions, geometry)
                 .backward(grad_output, channels_last, {need_input, need_weight, need_positions, need_bias});
  });
  STD_TORCH_CHECK(result.has_value(), "active_conv2d: the fused kernels do not take this dtype");
  return *result;
}

}  // namespace acu::cuda
