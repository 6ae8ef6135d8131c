// Depthwise convolutions one product at a time, for where the sums of cells.h are not finite: what several synapses say
// about a cell is one number there, and cells that a channel does not meet count 0, but inf - inf and inf * 0 are NaN. This
// asks for each corner of each synapse by itself, and reads none without a share.

#pragma once

#include "cells.h"
#include "vector.h"

namespace acu::ACU_INSTRUCTION_SET {

// A tensor's element (n, channel, pixel).
template <class T>
T element(const void* tensor, const Geometry& g, Layout layout, int64_t n, int64_t channel, int64_t pixels, int64_t pixel) {
  const int64_t place = layout.channels_last ? (n * pixels + pixel) * g.channels + channel
                                             : (n * g.channels + channel) * pixels + pixel;
  T value{};
  with_elements<T>(layout.element, tensor, [&](const auto* values) { value = widen(values[place]); });
  return value;
}

// Calls f(weight, corner) for the corners that have a share.
template <class T, class F>
void over_corners(const Cells<T>& cells, const Geometry& g, int64_t channel, const F& f) {
  for (int64_t k = 0; k < g.synapses; ++k) {
    for (int64_t i = 0; i < 4; ++i) {
      const auto corner = cells.corner(cells.synapses_of(channel)[k], i);
      if (corner.has_share()) f(cells.weight_of(channel)[k], corner);
    }
  }
}

template <class T>
T exact_output(const ForwardProblem<T>& problem, int64_t n, int64_t channel, int64_t i, int64_t j) {
  const Geometry& g = problem.plan.geometry;
  T sum = problem.bias != nullptr ? problem.bias[channel] : T(0);
  over_corners(*problem.cells, g, channel, [&](T weight, const auto& corner) {
    const int64_t y = i * g.stride.h + corner.row, x = j * g.stride.w + corner.column;
    if (y < 0 || y >= g.height || x < 0 || x >= g.width) return;
    const T value = element<T>(problem.input, g, problem.layout, n, channel, g.height * g.width, y * g.width + x);
    sum += weight * (corner.share_x * (corner.share_y * value));
  });
  return sum;
}

template <class T>
T exact_input_gradient(const BackwardProblem<T>& problem, int64_t n, int64_t channel, int64_t y, int64_t x) {
  const Geometry& g = problem.plan.geometry;
  T sum = 0;
  over_corners(*problem.cells, g, channel, [&](T weight, const auto& corner) {
    const int64_t down = y - corner.row, right = x - corner.column;
    if (down < 0 || down % g.stride.h != 0 || right < 0 || right % g.stride.w != 0) return;
    const int64_t i = down / g.stride.h, j = right / g.stride.w;
    if (i >= g.out_height || j >= g.out_width) return;
    const T d = element<T>(problem.grad_output, g, problem.layout, n, channel, g.out_pixels(), i * g.out_width + j);
    sum += corner.share_x * (corner.share_y * (weight * d));
  });
  return sum;
}

}  // namespace acu::ACU_INSTRUCTION_SET
