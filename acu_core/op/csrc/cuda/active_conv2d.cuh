// The operator on CUDA: columns by an elementwise kernel, products by cuBLAS, gradients by gathering and by sums with a
// fixed order.
//
// Everything inside is channels_last: a pixel's channels lie together, so threads read and write 16 bytes of neighbours
// and the whole batch is one matrix. An NCHW tensor is converted on the way in and out by torch's copy, which costs two
// passes over the image beside the K times larger columns. Columns are built a slice of output pixels at a time, so
// that scratch memory does not grow with the batch; nothing is saved for backward but the arguments, and backward
// builds the columns again.
#pragma once

#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "arguments.cuh"
#include "columns.cuh"
#include "depthwise.cuh"
#include "gradients.cuh"
#include "launch.cuh"
#include "matrices.cuh"
#include "needs.cuh"
#include "slices.cuh"
#include "sums.cuh"
#include "tensors.cuh"

namespace acu::cuda {

template <typename T>
class C10_HIDDEN ActiveConvolution {
 public:
  using A = Accumulator<T>;

  ActiveConvolution(const Tensor& input, const Tensor& weight, const Tensor& positions, const Geometry& geometry)
      : geometry_(geometry),
        launch_(input),
        input_(as_contiguous(input, MemoryFormat::ChannelsLast)),
        positions_(as_contiguous(positions)),
        weight_(weight),
        weights_(weight_matrices(weight, geometry.segments)),
        slices_(geometry, input.size(0), sizeof(T)) {}

  Tensor forward(const std::optional<Tensor>& bias, bool channels_last) {
    const Shape shape{input_.size(0), weight_.size(0), geometry_.out_height, geometry_.out_width};
    const Tensor output = empty_like_kind(input_, shape, MemoryFormat::ChannelsLast, input_.scalar_type());
    if (slices_.pixels > 0) {
      const Tensor columns = column_buffer();
      const Tensor rows = pixel_rows(output, geometry_.segments);
      slices_.for_each([&](int64_t first, int64_t count) {
        build_columns(columns, first, count);
        multiply(segment_matrices(columns, 0, count), flipped(weights_), segment_matrices(rows, first, count));
      });
      if (bias.has_value()) {
        const Tensor packed = as_contiguous(*bias);
        launch_(AddBias<T>{data<T>(packed), data<T>(output), weight_.size(0)}, output.numel());
      }
    }
    return in_layout(output, channels_last, input_.scalar_type());
  }

  std::tuple<Tensor, Tensor, Tensor, Tensor> backward(const Tensor& grad_output, bool channels_last,
                                                      const Needs& needs) {
    const Tensor grad_bias = needs.bias ? channel_sums(grad_output) : no_gradient(input_);
    Tensor grad_input = no_gradient(input_);
    if (needs.input) {
      // Several slices add to one image's gradient only if images are cut; for 16-bit images in float32.
      const Shape shape{input_.size(0), geometry_.channels, geometry_.height, geometry_.width};
      const ScalarType dtype = slices_.whole_images ? input_.scalar_type() : positions_.scalar_type();
      grad_input = empty_like_kind(input_, shape, MemoryFormat::ChannelsLast, dtype);
      if (!slices_.whole_images) set_to_zero(grad_input);
    }
    Tensor weight_sum = no_gradient(input_);
    if (needs.weight) {
      weight_sum = matrices_like_weights();
      if (slices_.pixels == 0) set_to_zero(weight_sum);
    }
    PositionSums position_sums(*this, needs.positions);

    if (slices_.pixels > 0 && (needs.input || needs.weight || needs.positions)) {
      const Tensor packed = as_contiguous(grad_output, MemoryFormat::ChannelsLast);
      const Tensor grad_rows = pixel_rows(packed, geometry_.segments);
      const Tensor columns = column_buffer();
      const Tensor weight_slice = needs.weight && !slices_.is_one() ? matrices_like_weights() : weight_sum;
      slices_.for_each([&](int64_t first, int64_t count) {
        const Tensor gradients = segment_matrices(grad_rows, first, count);
        const Tensor matrices = segment_matrices(columns, 0, count);
        if (needs.input || needs.positions) multiply(gradients, weights_, matrices);  // dCol
        if (needs.input) gather_input_gradient(columns, grad_input, first, count);
        if (needs.positions) {
          // Turns dCol into columns where the weight's gradient wants them.
          position_sums.add(columns, first, count, needs.weight);
        } else if (needs.weight) {
          build_columns(columns, first, count);
        }
        if (needs.weight) {
          multiply_in_full(flipped(gradients), matrices, first == 0 ? weight_sum : weight_slice);
          if (first > 0) launch_(AddSlice<A>{data<A>(weight_slice), data<A>(weight_sum)}, weight_slice.numel());
        }
      });
    }
    if (needs.input) grad_input = in_layout(grad_input, channels_last, input_.scalar_type());
    const Tensor grad_weight = needs.weight ? weight_from_matrices(weight_sum, weight_) : weight_sum;
    const Tensor grad_positions = needs.positions ? position_sums.total() : no_gradient(positions_);
    return {grad_input, grad_weight, grad_positions, grad_bias};
  }

 private:
  Tensor column_buffer() const {
    return empty_like_kind(weights_,
                           {slices_.size, geometry_.segments, int64_t{geometry_.synapses} * geometry_.group_channels});
  }

  // What weights and their gradients are added up in: float32 for 16-bit ones.
  Tensor matrices_like_weights() const {
    return empty_like_kind(weights_, {weights_.size(0), weights_.size(1), weights_.size(2)}, MemoryFormat::Contiguous,
                           positions_.scalar_type());
  }

  void build_columns(const Tensor& columns, int64_t first, int64_t count) const {
    with_width<T>(geometry_.group_channels, {&input_, &columns}, [&](auto width) {
      constexpr int kWidth = decltype(width)::value;
      const int64_t entries = geometry_.row_length() / kWidth;
      const Stretches stretches(count, entries, ACU_WALKERS);
      launch_(BuildColumns<T, kWidth>{geometry_, data<T>(input_), data<A>(positions_), data<T>(columns), first, count,
                                      stretches.length},
              stretches.count * entries);
    });
  }

  void gather_input_gradient(const Tensor& column_gradients, const Tensor& grad_input, int64_t first,
                             int64_t count) const {
    const int64_t pixels = geometry_.output_pixels();
    const int64_t first_image = first / pixels;
    with_width<T>(geometry_.group_channels, {&column_gradients}, [&](auto width) {
      constexpr int kWidth = decltype(width)::value;
      const int64_t vectors = geometry_.image_pixels() * (geometry_.channels / kWidth);
      const auto gather = [&](auto* destination, bool accumulate) {
        using Destination = std::remove_pointer_t<decltype(destination)>;
        return GatherInputGradient<T, Destination, kWidth>{
            geometry_, data<T>(column_gradients), data<A>(positions_), destination, first, count, first_image,
            accumulate};
      };
      if (slices_.whole_images) {
        launch_(gather(data<T>(grad_input), false), count / pixels * vectors);
      } else {
        const int64_t threads = std::min<int64_t>(vectors, ACU_WALKERS);
        const auto row_of = [&](int64_t pixel) { return static_cast<int>(pixel % pixels / geometry_.out_width); };
        launch_(AddSliceToInputGradient<T, kWidth>{gather(data<A>(grad_input), true), row_of(first),
                                                   row_of(first + count - 1), threads},
                threads);
      }
    });
  }

  // The positions' gradient: rows of partial sums, to which every slice adds.
  class PositionSums {
   public:
    PositionSums(const ActiveConvolution& convolution, bool wanted)
        : own_(convolution), partial_{no_gradient(own_.positions_), 0, 0} {
      if (!wanted) return;
      with_width<T>(own_.geometry_.group_channels, {&own_.input_}, [&](auto width) {
        width_ = decltype(width)::value;
        entries_ = own_.geometry_.row_length() / width_;
        // Where there are no pixels, nobody would write the rows.
        const int64_t pixels = std::min(own_.slices_.size, own_.slices_.pixels);
        const Stretches stretches(pixels, entries_, ACU_WALKERS);
        stretch_ = stretches.length;
        partial_ = {empty_like_kind(own_.positions_, {stretches.count, 2 * entries_}), stretches.count, 2 * entries_};
      });
    }

    void add(const Tensor& columns, int64_t first, int64_t count, bool keep_columns) const {
      with_width<T>(own_.geometry_.group_channels, {&own_.input_}, [&](auto width) {
        constexpr int kWidth = decltype(width)::value;
        const auto sum = [&](auto keep) {
          own_.launch_(SumPositionGradients<T, kWidth, decltype(keep)::value>{
                           own_.geometry_, data<T>(own_.input_), data<A>(own_.positions_), data<T>(columns),
                           data<A>(partial_.sums), first, count, stretch_, first > 0},
                       rounded_up_quotient(count, stretch_) * entries_);
        };
        keep_columns ? sum(std::true_type{}) : sum(std::false_type{});
      });
    }

    Tensor total() const {
      const Geometry& geometry = own_.geometry_;
      const Tensor result = empty_like_kind(own_.positions_, {geometry.position_groups, geometry.synapses, 2});
      const PartialSums<A> folded = partial_.folded(own_.launch_);
      const int64_t vectors = geometry.group_channels / width_, segments = geometry.segments / geometry.position_groups;
      const int64_t segment = geometry.synapses * vectors;
      own_.launch_.in_warps(
          SumPositions<A>{data<A>(folded.sums), folded.rows, folded.width, geometry.synapses,
                          SynapseEntries{segments * segment, vectors, segments, segment, vectors}, data<A>(result)},
          result.numel());
      return result;
    }

   private:
    const ActiveConvolution& own_;
    PartialSums<A> partial_;
    int64_t width_ = 1, entries_ = 0, stretch_ = 1;
  };

  Geometry geometry_;
  Launcher launch_;
  Tensor input_, positions_, weight_, weights_;
  Slices slices_;
};

// Calls function with a value of the element type; the types are those that the operator takes.
template <typename Function>
auto with_element_type(ScalarType dtype, const Function& function) {
  switch (dtype) {
    case ScalarType::Double:
      return function(double{});
    case ScalarType::Float:
      return function(float{});
    case ScalarType::Half:
      return function(torch::headeronly::Half{});
    case ScalarType::BFloat16:
      return function(torch::headeronly::BFloat16{});
    default:
      STD_TORCH_CHECK(false, "active_conv2d: input must be float64, float32, float16 or bfloat16 on CUDA");
  }
}

inline Tensor active_conv2d(Tensor input, Tensor weight, Tensor positions, std::optional<Tensor> bias,
                            std::vector<int64_t> stride, std::vector<int64_t> padding, int64_t groups,
                            bool channels_last) {
  const Geometry geometry = checked_geometry(input, weight, positions, settings_of(stride, padding, groups));
  if (bias.has_value()) {
    STD_TORCH_CHECK(bias->dim() == 1 && bias->size(0) == weight.size(0), "active_conv2d: bias must be (O,)");
    check_companion(*bias, input, input.scalar_type(), "bias");
  }
  return with_element_type(input.scalar_type(), [&](auto element) {
    using T = decltype(element);
    if (is_depthwise(geometry)) {
      return DepthwiseConvolution<T>(input, weight, positions, geometry).forward(bias, channels_last);
    }
    return ActiveConvolution<T>(input, weight, positions, geometry).forward(bias, channels_last);
  });
}

inline std::tuple<Tensor, Tensor, Tensor, Tensor> active_conv2d_backward(
    Tensor grad_output, Tensor input, Tensor weight, Tensor positions, std::vector<int64_t> stride,
    std::vector<int64_t> padding, int64_t groups, bool channels_last, bool need_input, bool need_weight,
    bool need_positions, bool need_bias) {
  const Geometry geometry = checked_geometry(input, weight, positions, settings_of(stride, padding, groups));
  check_companion(grad_output, input, input.scalar_type(), "grad_output");
  STD_TORCH_CHECK(grad_output.dim() == 4 && grad_output.size(0) == input.size(0) &&
                      grad_output.size(1) == weight.size(0) && grad_output.size(2) == geometry.out_height &&
                      grad_output.size(3) == geometry.out_width,
                  "active_conv2d: grad_output must have the output's shape");
  const Needs needs{need_input, need_weight, need_positions, need_bias};
  return with_element_type(input.scalar_type(), [&](auto element) {
    using T = decltype(element);
    if (is_depthwise(geometry)) {
      return DepthwiseConvolution<T>(input, weight, positions, geometry).backward(grad_output, channels_last, needs);
    }
    return ActiveConvolution<T>(input, weight, positions, geometry).backward(grad_output, channels_last, needs);
  });
}

}  // namespace acu::cuda
