// The three products of a depthwise convolution (a group for every channel, one output each). A matrix product would
// have one column; here a synapse's weights multiply the channels of a pixel as vectors, as the column pass lays them out.
//
// Weight and its gradient are in the order of the columns: a row for each block.

#pragma once

#include "columns.h"
#include "plan.h"

namespace acu::ACU_INSTRUCTION_SET {

// Where the columns of the chunk of channels at `c` and of a synapse begin in the column buffer, for the tile's first pixel.
// Both count from the block's first.
template <class T, class S, int VECTORS>
ACU_INLINE T* columns_of(Chunk<S, VECTORS>, const Plan& plan, const Block& block, int64_t c, int64_t k, T* columns) {
  const int64_t column = c * block.synapses() + k * VECTORS * S::kLanes;
  return columns + column / kPanel<T> * plan.panel_step() + column % kPanel<T>;
}

// out[p][c] = start + sum over k of column[p][k, c] * weight[k, c], where start is 0 or what out holds.
template <class T>
void multiply_depthwise(const Plan& plan, int64_t pixels, const Block& block, T* columns, const T* weight, bool add,
                        T* out) {
  const int64_t out_step = plan.geometry.outputs;
  over_chunks<T>(block.channels(), [&](auto chunk, int64_t c) {
    using S = typename decltype(chunk)::S;
    constexpr int64_t kWidth = decltype(chunk)::kVectors * S::kLanes;
    for (int64_t k = 0; k < block.synapses(); ++k) {
      const T* from = columns_of(chunk, plan, block, c, k, columns);
      const T* factors = weight + c * block.synapses() + k * kWidth;
      const bool starts = k == 0 && !add;
      for (int64_t p = 0; p < pixels; ++p) {
        for (int64_t i = 0; i < kWidth; i += S::kLanes) {
          T* to = out + p * out_step + c + i;
          const typename S::Vector start = starts ? typename S::Vector{} : load<S>(to);
          store<S>(to, start + load<S>(from + p * kPanel<T> + i) * load<S>(factors + i));
        }
      }
    }
  });
}

// columns[p][k, c] = gradient[p][c] * weight[k, c]
template <class T>
void spread_depthwise(const Plan& plan, int64_t pixels, const Block& block, const T* gradient, const T* weight,
                      T* columns) {
  const int64_t gradient_step = plan.geometry.outputs;
  over_chunks<T>(block.channels(), [&](auto chunk, int64_t c) {
    using S = typename decltype(chunk)::S;
    constexpr int64_t kWidth = decltype(chunk)::kVectors * S::kLanes;
    for (int64_t k = 0; k < block.synapses(); ++k) {
      T* to = columns_of(chunk, plan, block, c, k, columns);
      const T* factors = weight + c * block.synapses() + k * kWidth;
      for (int64_t p = 0; p < pixels; ++p) {
        for (int64_t i = 0; i < kWidth; i += S::kLanes) {
          store<S>(to + p * kPanel<T> + i, load<S>(gradient + p * gradient_step + c + i) * load<S>(factors + i));
        }
      }
    }
  });
}

// grad_weight[k, c] += sum over p of columns[p][k, c] * gradient[p][c]
template <class T>
void gather_depthwise(const Plan& plan, int64_t pixels, const Block& block, T* columns, const T* gradient,
                      T* grad_weight) {
  const int64_t gradient_step = plan.geometry.outputs;
  over_chunks<T>(block.channels(), [&](auto chunk, int64_t c) {
    using S = typename decltype(chunk)::S;
    constexpr int64_t kWidth = decltype(chunk)::kVectors * S::kLanes;
    for (int64_t k = 0; k < block.synapses(); ++k) {
      const T* from = columns_of(chunk, plan, block, c, k, columns);
      for (int64_t i = 0; i < kWidth; i += S::kLanes) {
        T* to = grad_weight + c * block.synapses() + k * kWidth + i;
        typename S::Vector sum = load<S>(to);
        for (int64_t p = 0; p < pixels; ++p) {
          sum += load<S>(from + p * kPanel<T> + i) * load<S>(gradient + p * gradient_step + c + i);
        }
        store<S>(to, sum);
      }
    }
  });
}

}  // namespace acu::ACU_INSTRUCTION_SET
