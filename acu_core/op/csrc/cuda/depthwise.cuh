// The operator where every group of the convolution has one input channel: no columns, no products, no scratch memory that
// grows with the image, so nothing is cut.
#pragma once

#include <optional>
#include <tuple>

#include "depthwise_kernels.cuh"
#include "launch.cuh"
#include "matrices.cuh"
#include "needs.cuh"
#include "slices.cuh"
#include "sums.cuh"
#include "tensors.cuh"

namespace acu::cuda {

// A grey image under an ordinary convolution is not: its one product takes all outputs at once.
inline bool is_depthwise(const Geometry& geometry) { return geometry.group_channels == 1 && geometry.groups > 1; }

template <typename T>
class C10_HIDDEN DepthwiseConvolution {
 public:
  using A = Accumulator<T>;

  DepthwiseConvolution(const Tensor& input, const Tensor& weight, const Tensor& positions, const Geometry& geometry)
      : geometry_(geometry, weight.size(0)),
        launch_(input),
        input_(as_contiguous(input, MemoryFormat::ChannelsLast)),
        positions_(as_contiguous(positions)),
        weight_(weight),
        by_synapse_(as_contiguous(stable::transpose(weight, 0, 2))),
        pixels_(input.size(0) * geometry.output_pixels()) {}

  Tensor forward(const std::optional<Tensor>& bias, bool channels_last) {
    const Shape shape{input_.size(0), weight_.size(0), geometry_.out_height, geometry_.out_width};
    const Tensor output = empty_like_kind(input_, shape, MemoryFormat::ChannelsLast, input_.scalar_type());
    const Tensor packed = bias.has_value() ? as_contiguous(*bias) : no_gradient(input_);
    with_width<T>(geometry_.common_outputs(), {&input_, &by_synapse_}, [&](auto width) {
      constexpr int kWidth = decltype(width)::value;
      launch_(DepthwiseForward<T, kWidth>{geometry_, data<T>(input_), data<T>(by_synapse_), data<A>(positions_),
                                          bias.has_value() ? data<T>(packed) : nullptr, data<T>(output)},
              pixels_ * (geometry_.outputs / kWidth));
    });
    return in_layout(output, channels_last, input_.scalar_type());
  }

  std::tuple<Tensor, Tensor, Tensor, Tensor> backward(const Tensor& grad_output, bool channels_last,
                                                      const Needs& needs) {
    const Tensor grad_bias = needs.bias ? channel_sums(grad_output) : no_gradient(input_);
    Tensor grad_input = no_gradient(input_), grad_weight = no_gradient(input_), grad_positions = no_gradient(positions_);
    if (needs.input || needs.weight || needs.positions) {
      const Tensor packed = as_contiguous(grad_output, MemoryFormat::ChannelsLast);
      if (needs.input) grad_input = in_layout(input_gradient(packed), channels_last, input_.scalar_type());
      if (needs.weight) grad_weight = empty_like_kind(weight_, {weight_.size(0), 1, weight_.size(2)});
      if (needs.positions) grad_positions = empty_like_kind(positions_, {geometry_.position_groups, geometry_.synapses, 2});
      if (needs.weight || needs.positions) sum_gradients(packed, needs, grad_weight, grad_positions);
    }
    return {grad_input, grad_weight, grad_positions, grad_bias};
  }

 private:
  Tensor input_gradient(const Tensor& grad_output) const {
    const Shape shape{input_.size(0), geometry_.channels, geometry_.height, geometry_.width};
    const Tensor result = empty_like_kind(input_, shape, MemoryFormat::ChannelsLast, input_.scalar_type());
    with_width<T>(geometry_.common_outputs(), {&grad_output, &by_synapse_}, [&](auto width) {
      constexpr int kWidth = decltype(width)::value;
      launch_(DepthwiseInputGradient<T, kWidth>{geometry_, data<T>(grad_output), data<T>(by_synapse_),
                                                data<A>(positions_), data<T>(result), pixels_},
              input_.size(0) * geometry_.image_pixels() * (geometry_.channels / kWidth));
    });
    return result;
  }

  void sum_gradients(const Tensor& grad_output, const Needs& needs, const Tensor& grad_weight,
                     const Tensor& grad_positions) const {
    with_width<T>(geometry_.common_outputs(), {&input_, &grad_output, &by_synapse_}, [&](auto width) {
      constexpr int kWidth = decltype(width)::value;
      const int64_t vectors = geometry_.outputs / kWidth, synapses = geometry_.synapses;
      const int64_t entries = synapses * vectors, weights = synapses * geometry_.outputs;
      // A row of sums is long here, so there are fewer of them.
      const Stretches stretches(pixels_, entries, ACU_WALKERS / 4);
      const int64_t row = weights + 2 * entries;
      const PartialSums<A> partial{empty_like_kind(positions_, {stretches.count, row}), stretches.count, row};
      launch_(SumDepthwiseGradients<T, kWidth>{geometry_, data<T>(input_), data<T>(grad_output), data<T>(by_synapse_),
                                               data<A>(positions_), data<A>(partial.sums), pixels_, stretches.length},
              stretches.count * entries);
      const PartialSums<A> folded = partial.folded(launch_);
      if (needs.weight) {
        launch_.in_warps(SumDepthwiseWeights<T>{data<A>(folded.sums), folded.rows, row, synapses, geometry_.outputs,
                                                data<T>(grad_weight)},
                         weights);
      }
      if (needs.positions) {
        const int64_t group = vectors / geometry_.position_groups;
        launch_.in_warps(SumPositions<A>{data<A>(folded.sums) + weights, folded.rows, row, synapses,
                                         SynapseEntries{group, vectors, 1, group, group}, data<A>(grad_positions)},
                         grad_positions.numel());
      }
    });
  }

  DepthwiseGeometry geometry_;
  Launcher launch_;
  Tensor input_, positions_, weight_, by_synapse_;
  int64_t pixels_;
};

}  // namespace acu::cuda
