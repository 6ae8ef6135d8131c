// The three products of a depthwise convolution (a group for every channel, one output each). A matrix product would
// have one column; here a synapse's weights multiply the channels of a pixel as vectors, as the column pass lays them out.
//
// Weight and its gradient are [synapse][channel] for each block, like a row of the column buffer.

#pragma once

#include "plan.h"
#include "vector.h"

namespace acu::ACU_INSTRUCTION_SET {

// Calls f(S, c) for channels c in steps of whole vectors, then one by one.
template <class T, class F>
ACU_INLINE void over_channels(int64_t channels, const F& f) {
  int64_t c = 0;
  for (; c + Wide<T>::kLanes <= channels; c += Wide<T>::kLanes) f(Wide<T>{}, c);
  for (; c < channels; ++c) f(Narrow<T>{}, c);
}

// out[p][c] = start + sum over k of columns[p][k, c] * weight[k, c], where start is 0 or what out holds.
template <class T>
void multiply_depthwise(int64_t pixels, const Block& block, const T* columns, int64_t column_step, const T* weight,
                        bool add, T* out, int64_t out_step) {
  const int64_t channels = block.channels(), size = block.columns();
  for (int64_t p = 0; p < pixels; ++p, columns += column_step, out += out_step) {
    over_channels<T>(channels, [&](auto lanes, int64_t c) {
      using S = decltype(lanes);
      typename S::Vector sum = add ? load<S>(out + c) : typename S::Vector{};
      for (int64_t at = c; at < size; at += channels) sum += load<S>(columns + at) * load<S>(weight + at);
      store<S>(out + c, sum);
    });
  }
}

// columns[p][k, c] = gradient[p][c] * weight[k, c]
template <class T>
void spread_depthwise(int64_t pixels, const Block& block, const T* gradient, int64_t gradient_step, const T* weight,
                      T* columns, int64_t column_step) {
  const int64_t channels = block.channels(), size = block.columns();
  for (int64_t p = 0; p < pixels; ++p, columns += column_step, gradient += gradient_step) {
    over_channels<T>(channels, [&](auto lanes, int64_t c) {
      using S = decltype(lanes);
      const typename S::Vector value = load<S>(gradient + c);
      for (int64_t at = c; at < size; at += channels) store<S>(columns + at, value * load<S>(weight + at));
    });
  }
}

// grad_weight[k, c] += sum over p of columns[p][k, c] * gradient[p][c]
template <class T>
void gather_depthwise(int64_t pixels, const Block& block, const T* columns, int64_t column_step, const T* gradient,
                      int64_t gradient_step, T* grad_weight) {
  const int64_t channels = block.channels(), size = block.columns();
  for (int64_t row = 0; row < size; row += channels) {
    over_channels<T>(channels, [&](auto lanes, int64_t c) {
      using S = decltype(lanes);
      typename S::Vector sum = load<S>(grad_weight + row + c);
      for (int64_t p = 0; p < pixels; ++p) {
        sum += load<S>(columns + p * column_step + row + c) * load<S>(gradient + p * gradient_step + c);
      }
      store<S>(grad_weight + row + c, sum);
    });
  }
}

}  // namespace acu::ACU_INSTRUCTION_SET
