// The checks on which memory safety depends, and the geometry they leave behind. Python has checked the same with
// friendlier words.
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <numeric>

#include "../settings.h"
#include "geometry.cuh"

namespace acu::cuda {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline void check_companion(const Tensor& tensor, const Tensor& input, ScalarType dtype, const char* name) {
  STD_TORCH_CHECK(tensor.scalar_type() == dtype, "active_conv2d: ", name, " has the wrong dtype for this input");
  STD_TORCH_CHECK(tensor.is_cuda() == input.is_cuda() && tensor.get_device_index() == input.get_device_index(),
                  "active_conv2d: ", name, " is on another device than input");
}

inline int64_t output_extent(int64_t extent, int64_t before, int64_t after, int64_t stride) {
  const int64_t last = extent + before + after - 1;
  // Below zero C++ would round the quotient up; no output has such a size anyway.
  return last < 0 ? 0 : last / stride + 1;
}

inline Geometry checked_geometry(const Tensor& input, const Tensor& weight, const Tensor& positions,
                                 const Settings& settings) {
  STD_TORCH_CHECK(input.dim() == 4, "active_conv2d: input must be (N, C, H, W)");
  STD_TORCH_CHECK(weight.dim() == 3, "active_conv2d: weight must be (O, C/groups, K)");
  STD_TORCH_CHECK(positions.dim() == 3 && positions.size(2) == 2, "active_conv2d: positions must be (G, K, 2)");
  const auto dtype = input.scalar_type();
  check_companion(weight, input, dtype, "weight");
  check_companion(positions, input, dtype == ScalarType::Double ? ScalarType::Double : ScalarType::Float, "positions");

  const int64_t out_channels = weight.size(0), group_channels = weight.size(1), synapses = weight.size(2);
  const int64_t channels = input.size(1), position_groups = positions.size(0);
  const auto& [stride, padding, groups] = settings;
  STD_TORCH_CHECK(channels > 0 && out_channels > 0 && synapses > 0,
                  "active_conv2d: weight and input must have channels and synapses");
  STD_TORCH_CHECK(positions.size(1) == synapses,
                  "active_conv2d: positions and weight differ in their number of synapses");
  STD_TORCH_CHECK(
      groups > 0 && out_channels % groups == 0 && group_channels * groups == channels,
      "active_conv2d: groups must divide the channels of input and output, and weight hold C/groups of them");
  STD_TORCH_CHECK(position_groups > 0 && out_channels % position_groups == 0,
                  "active_conv2d: position groups must divide the output channels");

  for (const int64_t number : {input.size(2), input.size(3), stride.h, stride.w, padding.top, padding.bottom,
                               padding.left, padding.right}) {
    STD_TORCH_CHECK(number <= kLargestExtent && number >= -kLargestExtent,
                    "active_conv2d: sizes, strides and paddings must stay below 2**28");
  }
  STD_TORCH_CHECK(stride.h > 0 && stride.w > 0, "active_conv2d: stride must be positive");
  const int64_t out_height = output_extent(input.size(2), padding.top, padding.bottom, stride.h);
  const int64_t out_width = output_extent(input.size(3), padding.left, padding.right, stride.w);
  STD_TORCH_CHECK(out_height > 0 && out_width > 0, "active_conv2d: the output would be empty");

  const int64_t segments = std::lcm(groups, position_groups);
  STD_TORCH_CHECK(channels < (int64_t{1} << 31) && segments * synapses < (int64_t{1} << 31) / group_channels,
                  "active_conv2d: too many channels and synapses");
  Geometry geometry{};
  geometry.height = static_cast<int>(input.size(2));
  geometry.width = static_cast<int>(input.size(3));
  geometry.out_height = static_cast<int>(out_height);
  geometry.out_width = static_cast<int>(out_width);
  geometry.stride_h = static_cast<int>(stride.h);
  geometry.stride_w = static_cast<int>(stride.w);
  geometry.pad_top = static_cast<int>(padding.top);
  geometry.pad_left = static_cast<int>(padding.left);
  geometry.channels = static_cast<int>(channels);
  geometry.group_channels = static_cast<int>(group_channels);
  geometry.groups = static_cast<int>(groups);
  geometry.position_groups = static_cast<int>(position_groups);
  geometry.synapses = static_cast<int>(synapses);
  geometry.segments = static_cast<int>(segments);
  return geometry;
}

}  // namespace acu::cuda
