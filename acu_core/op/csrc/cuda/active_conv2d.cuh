// The operator on CUDA: columns by an elementwise kernel, products by cuBLAS, gradients by gathering and by sums with a
// fixed order.
//
// Everything inside is channels_last: a pixel's channels lie together, so threads read and write 16 bytes of neighbours
// and the whole batch is one matrix. An NCHW tensor is converted on the way in and out by torch's copy, which costs two
// passes over the image beside the K times larger columns. Columns are built a slice of output pixels at a time, so
// that scratch memory does not grow with the batch; nothing is saved for backward but the arguments, and backward
// builds the columns again.
#pragma once

#include <atomic>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "arguments.cuh"
#include "columns.cuh"
#include "gradients.cuh"
#include "launch.cuh"
#include "matrices.cuh"

// Threads that walk over stretches of pixels: enough for the largest GPU (about 300,000 resident threads) to be full,
// few enough that each thread's constants serve many pixels and that partial sums stay small.
#ifndef ACU_WALKERS
#define ACU_WALKERS (int64_t{1} << 19)
#endif

namespace acu::cuda {

// Not tuned on a GPU yet. Large enough that a slice fills any GPU many times; smaller ones might keep the columns in
// the second-level cache. A setting, since what several slices and cut images do is else only seen with huge images.
C10_HIDDEN inline std::atomic<int64_t> scratch_bytes{int64_t{256} << 20};

// Output pixels in slices. Whole images where one fits into the scratch memory; else an image is cut, and its gradient
// accumulated.
struct Slices {
  int64_t pixels, size;
  bool whole_images;

  Slices(const Geometry& geometry, int64_t images, int64_t element_bytes) {
    const int64_t row_bytes = geometry.row_length() * element_bytes;
    // cuBLAS takes 32-bit extents.
    const int64_t affordable = std::min(std::max<int64_t>(scratch_bytes / row_bytes, 1), int64_t{1} << 30);
    pixels = images * geometry.output_pixels();
    whole_images = affordable >= geometry.output_pixels();
    size =
        std::min(whole_images ? affordable / geometry.output_pixels() * geometry.output_pixels() : affordable, pixels);
  }
};

// A channels_last tensor's widest safe vector: 16 bytes where channels and address allow, else one element.
template <typename T>
bool takes_vectors(const Geometry& geometry, const Tensor& tensor) {
  constexpr int kWidth = 16 / sizeof(T);
  return geometry.group_channels % kWidth == 0 && reinterpret_cast<uintptr_t>(tensor.data_ptr()) % 16 == 0;
}

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
      for_each_slice([&](int64_t first, int64_t count) {
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

  struct Needs {
    bool input, weight, positions, bias;
  };

  std::tuple<Tensor, Tensor, Tensor, Tensor> backward(const Tensor& grad_output, bool channels_last,
                                                      const Needs& needs) {
    Tensor grad_bias = no_gradient(input_);
    if (needs.bias) grad_bias = channel_sums(grad_output);

    Tensor grad_positions = no_gradient(positions_);
    if (needs.positions) {
      grad_positions = zeros(positions_, {geometry_.position_groups, geometry_.synapses, 2}, positions_.scalar_type());
    }
    // Several slices may add to one image's gradient only if images are cut; the sum is then kept in float32 for 16-bit
    // images.
    Tensor grad_input = no_gradient(input_);
    if (needs.input) {
      const Shape shape{input_.size(0), geometry_.channels, geometry_.height, geometry_.width};
      const ScalarType dtype = slices_.whole_images ? input_.scalar_type() : positions_.scalar_type();
      grad_input = empty_like_kind(input_, shape, MemoryFormat::ChannelsLast, dtype);
      if (!slices_.whole_images) set_to_zero(grad_input);
    }
    Tensor weight_sum = no_gradient(input_);
    if (needs.weight) {
      weight_sum = zeros(weights_, {weights_.size(0), weights_.size(1), weights_.size(2)}, positions_.scalar_type());
    }

    if (slices_.pixels > 0 && (needs.input || needs.weight || needs.positions)) {
      const Tensor packed = as_contiguous(grad_output, MemoryFormat::ChannelsLast);
      const Tensor grad_rows = pixel_rows(packed, geometry_.segments);
      const Tensor columns = column_buffer();
      const Tensor weight_slice = empty_like_kind(weights_, {weights_.size(0), weights_.size(1), weights_.size(2)});
      for_each_slice([&](int64_t first, int64_t count) {
        const Tensor gradients = segment_matrices(grad_rows, first, count);
        const Tensor matrices = segment_matrices(columns, 0, count);
        if (needs.input || needs.positions) multiply(gradients, weights_, matrices);  // dCol
        if (needs.input) gather_input_gradient(columns, grad_input, first, count);
        if (needs.positions) {
          // Turns dCol into columns where the weight's gradient wants them.
          add_position_gradients(columns, grad_positions, first, count, needs.weight);
        } else if (needs.weight) {
          build_columns(columns, first, count);
        }
        if (needs.weight) {
          multiply(flipped(gradients), matrices, weight_slice);
          launch_(AddSlice<T>{data<T>(weight_slice), data<A>(weight_sum)}, weight_slice.numel());
        }
      });
    }
    if (needs.input) {
      grad_input = in_layout(grad_input, channels_last, input_.scalar_type());
    }
    const Tensor grad_weight = needs.weight ? weight_from_matrices(weight_sum, weight_) : weight_sum;
    return {grad_input, grad_weight, grad_positions, grad_bias};
  }

 private:
  Tensor column_buffer() const {
    return empty_like_kind(weights_,
                           {slices_.size, geometry_.segments, int64_t{geometry_.synapses} * geometry_.group_channels});
  }

  template <typename Function>
  void for_each_slice(const Function& function) const {
    for (int64_t first = 0; first < slices_.pixels; first += slices_.size) {
      function(first, std::min(slices_.size, slices_.pixels - first));
    }
  }

  // Calls function with the number of channels a thread takes, as a compile-time constant.
  template <typename Function>
  void with_width(bool vectors, const Function& function) const {
    if (vectors) {
      function(std::integral_constant<int, 16 / sizeof(T)>{});
    } else {
      function(std::integral_constant<int, 1>{});
    }
  }

  static int64_t stretch_for(int64_t pixels, int64_t entries) {
    return (pixels * entries + ACU_WALKERS - 1) / ACU_WALKERS;
  }

  void build_columns(const Tensor& columns, int64_t first, int64_t count) const {
    with_width(takes_vectors<T>(geometry_, input_), [&](auto width) {
      constexpr int kWidth = decltype(width)::value;
      const int64_t entries = geometry_.row_length() / kWidth;
      const int64_t stretch = stretch_for(count, entries);
      launch_(BuildColumns<T, kWidth>{geometry_, data<T>(input_), data<A>(positions_), data<T>(columns), first, count,
                                      stretch},
              (count + stretch - 1) / stretch * entries);
    });
  }

  void gather_input_gradient(const Tensor& column_gradients, const Tensor& grad_input, int64_t first,
                             int64_t count) const {
    const int64_t first_image = first / geometry_.output_pixels();
    const int64_t images = (first + count - 1) / geometry_.output_pixels() - first_image + 1;
    with_width(takes_vectors<T>(geometry_, column_gradients), [&](auto width) {
      constexpr int kWidth = decltype(width)::value;
      const int64_t threads = images * geometry_.image_pixels() * (geometry_.channels / kWidth);
      const auto gather = [&](auto* destination, bool accumulate) {
        using Destination = std::remove_pointer_t<decltype(destination)>;
        launch_(GatherInputGradient<T, Destination, kWidth>{geometry_, data<T>(column_gradients), data<A>(positions_),
                                                            destination, first, count, first_image, accumulate},
                threads);
      };
      if (slices_.whole_images) {
        gather(data<T>(grad_input), false);
      } else {
        gather(data<A>(grad_input), true);
      }
    });
  }

  void add_position_gradients(const Tensor& columns, const Tensor& grad_positions, int64_t first, int64_t count,
                              bool keep_columns) const {
    with_width(takes_vectors<T>(geometry_, input_), [&](auto width) {
      constexpr int kWidth = decltype(width)::value;
      const int64_t entries = geometry_.row_length() / kWidth;
      const int64_t stretch = stretch_for(count, entries);
      int64_t stretches = (count + stretch - 1) / stretch;
      Tensor partial = empty_like_kind(positions_, {stretches, 2 * entries});
      const auto sum = [&](auto keep) {
        launch_(SumPositionGradients<T, kWidth, decltype(keep)::value>{geometry_, data<T>(input_), data<A>(positions_),
                                                                       data<T>(columns), data<A>(partial), first, count,
                                                                       stretch},
                stretches * entries);
      };
      keep_columns ? sum(std::true_type{}) : sum(std::false_type{});
      while (stretches > 1) {
        const int64_t folded = (stretches + kFoldedStretches - 1) / kFoldedStretches;
        const Tensor next = empty_like_kind(positions_, {folded, 2 * entries});
        launch_(FoldStretches<A>{data<A>(partial), data<A>(next), stretches, 2 * entries}, folded * 2 * entries);
        partial = next;
        stretches = folded;
      }
      launch_(AddPositionGradients<A>{geometry_, data<A>(partial), data<A>(grad_positions),
                                      geometry_.group_channels / kWidth},
              grad_positions.numel());
    });
  }

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
    return ActiveConvolution<decltype(element)>(input, weight, positions, geometry).forward(bias, channels_last);
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
  return with_element_type(input.scalar_type(), [&](auto element) {
    using Convolution = ActiveConvolution<decltype(element)>;
    return Convolution(input, weight, positions, geometry)
        .backward(grad_output, channels_last, {need_input, need_weight, need_positions, need_bias});
  });
}

}  // namespace acu::cuda
