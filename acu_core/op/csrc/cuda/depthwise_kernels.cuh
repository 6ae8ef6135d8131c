// Kernels for one input channel a group: a product of matrices would have one column a synapse and one row an output, so
// pixels are blended and weighted in one go, and nothing stands between image and output.
//
// A thread keeps `Width` neighbouring outputs. More than one only where every output has an input channel of its own and
// all of them have the same positions.
#pragma once

#include "columns.cuh"
#include "geometry.cuh"
#include "gradients.cuh"
#include "launch.cuh"
#include "sums.cuh"

namespace acu::cuda {

struct DepthwiseGeometry : Geometry {
  int outputs;

  int channel_outputs;   // outputs that read one input channel
  int position_outputs;  // outputs that share positions

  explicit DepthwiseGeometry(const Geometry& geometry, int64_t out_channels)
      : Geometry(geometry),
        outputs(static_cast<int>(out_channels)),
        channel_outputs(outputs / geometry.groups),
        position_outputs(outputs / geometry.position_groups) {}

  ACU_HOST_DEVICE int channel_of(int output) const { return output / channel_outputs; }
  ACU_HOST_DEVICE int64_t positions_of(int output) const {
    return 2 * (int64_t{output / position_outputs} * synapses);
  }
  // Outputs that a thread may take together must divide this.
  int common_outputs() const { return channel_outputs == 1 ? position_outputs : 1; }
};

// Body of a kernel: index = pixel * (vectors of outputs) + vector.
template <typename T, int Width>
struct DepthwiseForward {
  using A = Accumulator<T>;
  DepthwiseGeometry geometry;
  const T* input;      // (N, H, W, C)
  const T* weight;     // (K, O)
  const A* positions;  // (G, K, 2)
  const T* bias;       // (O,), or null
  T* output;           // (pixels, O)

  ACU_HOST_DEVICE void operator()(int64_t index) const {
    const int vectors = geometry.outputs / Width;
    const int64_t pixel_index = index / vectors;
    const int first = static_cast<int>(index - pixel_index * vectors) * Width;
    const OutputPixel pixel(geometry, pixel_index);
    const T* image = input + pixel.image * geometry.image_pixels() * geometry.channels + geometry.channel_of(first);
    const A* position = positions + geometry.positions_of(first);
    A sum[Width];
    ACU_UNROLL
    for (int v = 0; v < Width; ++v) sum[v] = A(0);
    for (int synapse = 0; synapse < geometry.synapses; ++synapse, position += 2) {
      const auto d = displacement(position);
      const Coefficients<A> c(d);
      const auto weights = load<T, Width>(weight + int64_t{synapse} * geometry.outputs + first);
      const Corners<T, Width> corners(image, geometry, pixel.centre_y(geometry) + d.row,
                                      pixel.centre_x(geometry) + d.column, c);
      ACU_UNROLL
      for (int v = 0; v < Width; ++v) sum[v] += static_cast<A>(weights.values[v]) * corners.blend(c, v);
    }
    if (bias != nullptr) {
      ACU_UNROLL
      for (int v = 0; v < Width; ++v) sum[v] += static_cast<A>(load(bias + first + v));
    }
    Pack<T, Width> result;
    ACU_UNROLL
    for (int v = 0; v < Width; ++v) result.values[v] = static_cast<T>(sum[v]);
    store<T, Width>(output + pixel_index * geometry.outputs + first, result);
  }
};

// The input's gradient, gathered from the output's. Body of a kernel: index = (pixel of the images) * (vectors in C) +
// vector.
template <typename T, int Width>
struct DepthwiseInputGradient {
  using A = Accumulator<T>;
  DepthwiseGeometry geometry;
  const T* grad_output;  // (pixels, O)
  const T* weight;       // (K, O)
  const A* positions;
  T* grad_input;  // (N, H, W, C)
  int64_t pixels;

  ACU_HOST_DEVICE void operator()(int64_t index) const {
    const int vectors = geometry.channels / Width;
    const int64_t inside = index / vectors;
    const int channel = static_cast<int>(index - inside * vectors) * Width;
    const int64_t image = inside / geometry.image_pixels();
    const int64_t image_pixel = inside - image * geometry.image_pixels();
    const int y = static_cast<int>(image_pixel / geometry.width);
    const int x = static_cast<int>(image_pixel - int64_t{y} * geometry.width);

    A sum[Width];
    A poison = A(0);
    ACU_UNROLL
    for (int v = 0; v < Width; ++v) sum[v] = A(0);
    // With several channels at once there is one output for each.
    const int begin = channel * geometry.channel_outputs;
    for (int output = begin; output < begin + geometry.channel_outputs; ++output) {
      const A* position = positions + geometry.positions_of(output);
      const OutputRows<T> rows{grad_output + output, geometry.outputs, 0, pixels};
      for (int synapse = 0; synapse < geometry.synapses; ++synapse, position += 2) {
        const auto d = displacement(position);
        if (!d.is_finite()) poison = d.down + d.right;
        const auto weights = load<T, Width>(weight + int64_t{synapse} * geometry.outputs + output);
        const Readers<T, Width> readers(geometry, d, rows, image, y, x);
        ACU_UNROLL
        for (int v = 0; v < Width; ++v) sum[v] += static_cast<A>(weights.values[v]) * readers.blend(v);
      }
    }
    Pack<T, Width> result;
    ACU_UNROLL
    for (int v = 0; v < Width; ++v) result.values[v] = static_cast<T>(sum[v] + poison);
    store<T, Width>(grad_input + inside * geometry.channels + channel, result);
  }
};

// The gradients of weight and positions: each thread sums its own entry, `Width` outputs of one synapse, over its stretch
// of pixels. Body of a kernel: index = stretch * (entries) + entry; a row of partial sums is (K, O) for the weight, then
// (K, vectors of outputs, [y, x]) for the positions.
template <typename T, int Width>
struct SumDepthwiseGradients {
  static constexpr int kBlocksEach = 2;
  using A = Accumulator<T>;
  DepthwiseGeometry geometry;
  const T* input;
  const T* grad_output;
  const T* weight;
  const A* positions;
  A* partial;
  int64_t pixels;
  int64_t stretch;

  ACU_HOST_DEVICE void operator()(int64_t index) const {
    const int vectors = geometry.outputs / Width;
    const int64_t entries = int64_t{geometry.synapses} * vectors;
    const int64_t stretch_index = index / entries;
    const int64_t entry = index - stretch_index * entries;
    const int synapse = static_cast<int>(entry / vectors);
    const int first = static_cast<int>(entry - int64_t{synapse} * vectors) * Width;
    const auto d = displacement(positions + geometry.positions_of(first) + 2 * synapse);
    const Coefficients<A> c(d);
    const int64_t place = int64_t{synapse} * geometry.outputs + first;
    const auto weights = load<T, Width>(weight + place);
    const int64_t begin = stretch_index * stretch;
    const int64_t end = begin + stretch < pixels ? begin + stretch : pixels;
    const T* channel = input + geometry.channel_of(first);
    const T* gradient_row = grad_output + begin * geometry.outputs + first;
    A weight_sum[Width];
    ACU_UNROLL
    for (int v = 0; v < Width; ++v) weight_sum[v] = A(0);
    A sum_y = A(0), sum_x = A(0);

    OutputPixel pixel(geometry, begin);
    for (int64_t row = begin; row < end; ++row, pixel.advance(geometry), gradient_row += geometry.outputs) {
      const T* image = channel + pixel.image * geometry.image_pixels() * geometry.channels;
      const auto gradients = load<T, Width>(gradient_row);
      const Corners<T, Width> corners(image, geometry, pixel.centre_y(geometry) + d.row,
                                      pixel.centre_x(geometry) + d.column);
      ACU_UNROLL
      for (int v = 0; v < Width; ++v) {
        const A gradient = static_cast<A>(gradients.values[v]);
        const A weighted_gradient = gradient * static_cast<A>(weights.values[v]);
        const Slopes<T, Width> slopes(corners, c, d, v);
        weight_sum[v] += gradient * slopes.column;
        sum_y += weighted_gradient * slopes.by_y;
        sum_x += weighted_gradient * slopes.by_x;
      }
    }
    const int64_t weights_in_row = int64_t{geometry.synapses} * geometry.outputs;
    A* sums = partial + stretch_index * (weights_in_row + 2 * entries);
    ACU_UNROLL
    for (int v = 0; v < Width; ++v) store(sums + place + v, weight_sum[v]);
    store(sums + weights_in_row + 2 * entry, sum_y);
    store(sums + weights_in_row + 2 * entry + 1, sum_x);
  }
};

// The weight's gradient. Body of a kernel of warps: output = output channel * synapses + synapse.
template <typename T>
struct SumDepthwiseWeights {
  using A = Accumulator<T>;
  const A* sums;  // (rows, width), of which the first (K, O) are the weight's
  int64_t rows;
  int64_t width;
  int64_t synapses;
  int64_t outputs;
  T* grad_weight;  // (O, K)

  ACU_HOST_DEVICE A part(int64_t output, int lane) const {
    const int64_t channel = output / synapses;
    const int64_t place = (output - channel * synapses) * outputs + channel;
    A sum = A(0);
    for (int64_t row = lane; row < rows; row += kLanes) sum += load(sums + row * width + place);
    return sum;
  }
  ACU_HOST_DEVICE void finish(int64_t output, A sum) const { store(grad_weight + output, static_cast<T>(sum)); }
};

}  // namespace acu::cuda
