// The index arithmetic that every CUDA kernel here shares (../cpu/plan.h says what slice, entry and stretch are). Nothing
// in this file needs torch or a GPU: with a plain C++ compiler the CUDA keywords vanish, and
// tests/acu_core/op/test_cuda_index_arithmetic.py runs these very lines on the CPU.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#ifdef __CUDACC__
#define ACU_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define ACU_HOST_DEVICE inline
#endif

// Arrays of a vector's numbers live in registers only if every loop over them is unrolled.
#ifdef __CUDA_ARCH__
#define ACU_UNROLL _Pragma("unroll")
#define ACU_UNROLL_TWICE _Pragma("unroll 2")
#else
#define ACU_UNROLL
#define ACU_UNROLL_TWICE
#endif

// Where a test counts what a launch reads and writes; nothing anywhere else. What is read again and again from a cache,
// such as a launch's own arguments, does not pass here.
#ifndef ACU_ON_READ
#define ACU_ON_READ(address, bytes) static_cast<void>(0)
#define ACU_ON_WRITE(address, bytes) static_cast<void>(0)
#endif

namespace acu::cuda {

// Coordinates are 32-bit on the GPU, where 64-bit integer arithmetic costs several instructions; addresses are 64-bit.
// With every extent, stride and padding at most kLargestExtent and every floor clamped to +-kFarAway, no sum of
// coordinates overflows, and a clamped position still lies outside any image (the checks in arguments.cuh hold the
// first half of that bargain).
constexpr int64_t kLargestExtent = int64_t{1} << 28;
constexpr int kFarAway = 1 << 30;

// What positions, coefficients and sums are computed in: float32, and float64 for float64 input.
template <typename T>
using Accumulator = std::conditional_t<std::is_same_v<T, double>, double, float>;

struct Geometry {
  int height, width;          // of the input
  int out_height, out_width;  // of the output
  int stride_h, stride_w;
  int pad_top, pad_left;
  int channels;         // of the input
  int group_channels;   // channels / groups: what one output channel reads
  int groups;           // groups of the convolution
  int position_groups;  // G
  int synapses;         // K
  // Output channels are cut into `segments` equal runs on each of which both groupings are constant: lcm(groups, G) of
  // them. What one output pixel reads for one segment is synapses * group_channels columns, channel fastest.
  int segments;

  ACU_HOST_DEVICE int64_t image_pixels() const { return int64_t{height} * width; }
  ACU_HOST_DEVICE int64_t output_pixels() const { return int64_t{out_height} * out_width; }
  // The length of one row of the column matrix, (segment, synapse, channel) with the channel fastest.
  ACU_HOST_DEVICE int64_t row_length() const { return int64_t{segments} * synapses * group_channels; }
  ACU_HOST_DEVICE int group_of_segment(int segment) const { return segment / (segments / groups); }
  ACU_HOST_DEVICE int position_group_of_segment(int segment) const { return segment / (segments / position_groups); }
};

// A synapse's displacement as whole pixels and the fraction beyond them, in [0, 1). The fraction of a position that is
// not finite is NaN, and so is every coefficient made of it: that is how such a position shows in the output without a
// synchronising check.
template <typename A>
struct Displacement {
  int row, column;
  A down, right;

  ACU_HOST_DEVICE bool is_finite() const { return down == down && right == right; }
};

template <typename A>
ACU_HOST_DEVICE int clamped_floor(A position, A& fraction) {
  const A whole = std::floor(position);
  fraction = position - whole;  // inf - inf and NaN - NaN are NaN
  // fmax and fmin return the number when the other is NaN, so that no float outside int's range is ever converted.
  return static_cast<int>(std::fmin(std::fmax(whole, static_cast<A>(-kFarAway)), static_cast<A>(kFarAway)));
}

// position: the two numbers (y, x) of one synapse.
template <typename A>
ACU_HOST_DEVICE Displacement<A> displacement(const A* position) {
  ACU_ON_READ(position, 2 * sizeof(A));
  Displacement<A> result;
  result.row = clamped_floor(position[0], result.down);
  result.column = clamped_floor(position[1], result.right);
  return result;
}

// coefficient * value, but 0 for a coefficient of exactly 0 even when the value is inf or NaN: a corner that does not
// count is not read.
template <typename A>
ACU_HOST_DEVICE A weighted(A coefficient, A value) {
  return coefficient == A(0) ? A(0) : coefficient * value;
}

// An output pixel, and the input pixel under its centre. Stepping along rows avoids the divisions of decoding each one.
struct OutputPixel {
  int64_t image;
  int row, column;

  ACU_HOST_DEVICE OutputPixel(const Geometry& geometry, int64_t pixel) {
    image = pixel / geometry.output_pixels();
    const int64_t inside = pixel - image * geometry.output_pixels();
    row = static_cast<int>(inside / geometry.out_width);
    column = static_cast<int>(inside - int64_t{row} * geometry.out_width);
  }
  ACU_HOST_DEVICE void advance(const Geometry& geometry) {
    if (++column < geometry.out_width) return;
    column = 0;
    if (++row < geometry.out_height) return;
    row = 0;
    ++image;
  }
  ACU_HOST_DEVICE int centre_y(const Geometry& geometry) const { return row * geometry.stride_h - geometry.pad_top; }
  ACU_HOST_DEVICE int centre_x(const Geometry& geometry) const {
    return column * geometry.stride_w - geometry.pad_left;
  }
};

// Which output row (or column) looks at `shifted` = input coordinate + padding - displacement, if any does.
ACU_HOST_DEVICE bool output_coordinate(int shifted, int stride, int extent, int& result) {
  if (shifted < 0) return false;
  if (stride == 1) {
    result = shifted;
  } else if (stride == 2) {
    // A division takes twenty instructions.
    result = shifted >> 1;
    if (shifted & 1) return false;
  } else {
    result = shifted / stride;
    if (result * stride != shifted) return false;
  }
  return result < extent;
}

// What one thread works on: `Width` neighbouring channels of one synapse of one segment. `entry` counts them in the
// order of a column row.
template <int Width>
struct Entry {
  int segment, synapse, channel;  // channel: within the convolution group

  ACU_HOST_DEVICE Entry(const Geometry& geometry, int entry) {
    const int vectors = geometry.group_channels / Width;
    const int pair = entry / vectors;
    channel = (entry - pair * vectors) * Width;
    segment = pair / geometry.synapses;
    synapse = pair - segment * geometry.synapses;
  }
  ACU_HOST_DEVICE int input_channel(const Geometry& geometry) const {
    return geometry.group_of_segment(segment) * geometry.group_channels + channel;
  }
  ACU_HOST_DEVICE int64_t position_index(const Geometry& geometry) const {
    return 2 * (int64_t{geometry.position_group_of_segment(segment)} * geometry.synapses + synapse);
  }
};

// `Width` neighbouring numbers moved in one instruction; 16 bytes where the channels divide so.
template <typename T, int Width>
struct alignas(sizeof(T) * Width) Pack {
  T values[Width];
};

template <typename T, int Width>
ACU_HOST_DEVICE Pack<T, Width> load(const T* address) {
  ACU_ON_READ(address, sizeof(Pack<T, Width>));
  return *reinterpret_cast<const Pack<T, Width>*>(address);
}

template <typename T, int Width>
ACU_HOST_DEVICE void store(T* address, const Pack<T, Width>& pack) {
  ACU_ON_WRITE(address, sizeof(Pack<T, Width>));
  *reinterpret_cast<Pack<T, Width>*>(address) = pack;
}

// One number.
template <typename T>
ACU_HOST_DEVICE T load(const T* address) {
  ACU_ON_READ(address, sizeof(T));
  return *address;
}

template <typename T>
ACU_HOST_DEVICE void store(T* address, T number) {
  ACU_ON_WRITE(address, sizeof(T));
  *address = number;
}

}  // namespace acu::cuda
