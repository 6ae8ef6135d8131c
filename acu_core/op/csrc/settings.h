// The numbers of a call as the schema gives them: lists whose lengths it cannot hold. For the CPU and for CUDA alike.

#pragma once

#include <vector>

#include <torch/headeronly/util/Exception.h>

#include "paddings.h"

namespace acu {

struct Settings {
  Stride stride;
  Paddings padding;
  int64_t groups;
};

inline Settings settings_of(const std::vector<int64_t>& stride, const std::vector<int64_t>& padding, int64_t groups) {
  STD_TORCH_CHECK(stride.size() == 2, "active_conv2d: stride must be (h, w), not ", stride.size(), " numbers");
  STD_TORCH_CHECK(padding.size() == 4, "active_conv2d: padding must be (top, bottom, left, right), not ", padding.size(),
                  " numbers");
  return {{stride[0], stride[1]}, {padding[0], padding[1], padding[2], padding[3]}, groups};
}

}  // namespace acu
