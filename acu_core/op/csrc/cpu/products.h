// What a tile's columns are multiplied with, decided when the kernels are compiled: the micro-kernel, or tile registers.

#pragma once

#include "micro_kernel.h"
#include "problem.h"

#if ACU_TILE_REGISTERS
#include "split_products.h"
#endif

namespace acu::ACU_INSTRUCTION_SET {

// The products of one thread by the micro-kernel. See there.
template <class T>
class MicroProducts {
 public:
  explicit MicroProducts(const ForwardProblem<T>& problem) : step_(problem.plan.panel_step()), weight_(problem.packed_weight) {}
  explicit MicroProducts(const BackwardProblem<T>& problem)
      : step_(problem.plan.panel_step()), weight_(problem.transposed_weight) {}

  template <Result RESULT>
  void columns_to_outputs(const SegmentPlan& part, const Block& block, int64_t pixels, const Sight& sight, const T* columns,
                          T* out, PixelRows rows) const {
    multiply_columns<T, RESULT>(pixels, part.outputs(), block.columns(), sight, columns, step_,
                                weight_ + block.weight_offset, out, rows);
  }

  void take_gradient(const SegmentPlan&, int64_t, const T* gradient, PixelRows rows, bool) {
    gradient_ = gradient;
    rows_ = rows;
  }

  void gradient_to_columns(const SegmentPlan& part, const Block& block, int64_t pixels, const Sight& sight,
                           T* columns) const {
    multiply_gradient(pixels, block.columns(), part.outputs(), sight, gradient_, rows_, weight_ + block.transposed_offset,
                      columns, step_);
  }

  void columns_to_weight(const SegmentPlan& part, const Block& block, int64_t, const Sight& sight, const T* columns,
                         T* grad_weight) const {
    multiply_transposed(block.columns(), part.outputs(), sight, gradient_, rows_, columns, step_, grad_weight);
  }

  bool are_finite() const { return true; }

 private:
  int64_t step_;
  const T* weight_;
  const T* gradient_ = nullptr;
  PixelRows rows_{};
};

#if ACU_TILE_REGISTERS
template <class T>
using Products = SplitProducts;  // of floats alone
#else
template <class T>
using Products = MicroProducts<T>;
#endif

}  // namespace acu::ACU_INSTRUCTION_SET
