// Backward where groups of outputs have shapes of their own, at stride 1, from the output's side (mirror(), geometry.h). Columns of
// the input would be built once for each shape, and walked back over, from all channels. The columns of the output's gradient
// are as many as those of one shape: each input pixel collects what its products with the weight gave to the outputs. Per tile
// and block: these products once more (which are the gradient of such columns), the walk back (which turns them into the columns
// and sums the gradient of the positions), the gradient of the weight, and that of the input, which nothing else adds to.

#pragma once

#include <cmath>

#include "tile_backward.h"

namespace acu::ACU_INSTRUCTION_SET {

// The images [begin, end) of the output's gradient, added up over their pixels.
template <class T>
void add_bias_gradient(const Geometry& g, const T* grad_output, bool channels_last, int64_t begin, int64_t end, double* sums) {
  const int64_t pixels = g.height * g.width;
  std::vector<T> row(g.channels);
  for (int64_t n = begin; n < end; ++n) {
    const T* image = grad_output + n * g.channels * pixels;
    if (channels_last) {
      const int64_t row_size = g.width * g.channels;
      for (int64_t y = 0; y < g.height; ++y) add_bias_gradient(g.width, g.channels, image + y * row_size, row, sums);
      continue;
    }
    for (int64_t o = 0; o < g.channels; ++o, image += pixels) {
      for (int64_t p = 0; p < pixels; ++p) sums[o] += image[p];
    }
  }
}

// Returns whether the gradients stand: see Kernels.
template <class T>
bool mirrored_backward_tiles(const MirroredProblem<T>& problem, int64_t begin, int64_t end, SlotSums<T>& sums) {
  const BackwardProblem<T>& backward = problem.backward;
  const Plan& plan = backward.plan;
  const Geometry& g = plan.geometry;
  Images<T> images(plan, backward.synapses, backward.input, backward.layout);
  const ImageGradients<T> no_gradients(backward, begin, end, sums.shared);
  GradientTile<T> pixels_of_input(backward);
  WalkScratch<T> scratch(plan);
  Buffer<T> columns(plan.buffer_size());
  const bool need_input = problem.forward.output != nullptr, copies = need_input && plan.copies_outputs(backward.layout);
  Buffer<T> out_copy(copies ? plan.largest_tile() * g.outputs : 0);
  std::vector<Walk<T>> walks;
  Sight sight;
  Products<T> products(backward), input_products(problem.forward);

  if (!need_input && !needs_columns(backward)) return true;
  for (int64_t index = begin; index < end; ++index) {
    const Tile tile = plan.tile(index);
    const int64_t pixels = tile.pixels();
    const PixelRows rows = pixel_rows(tile, g.outputs);
    const T* input = pixels_of_input.fetch(tile, sums.bias);
    images.prepare(tile);
    T* out = copies ? out_copy.data() : static_cast<T*>(problem.forward.output);
    if (need_input && !copies) out += first_pixel(g, tile) * g.outputs;
    const SegmentPlan& part = plan.segments.front();
    products.take_gradient(part, pixels, input, rows, backward.need_weight);
    for (const Block& block : part.blocks) {
      if (backward.need_positions) {
        scratch.start(plan, tile, backward.synapses, block);
        products.gradient_to_columns(part, block, pixels, scratch.sight(), columns.data());
        walk_back_over_columns(plan, tile, images, no_gradients, backward.synapses, block, scratch, columns.data(),
                               sums.positions.data());
      } else {
        fill_columns(plan, tile, images, backward.synapses, block, walks, sight, columns.data());
      }
      const Sight& seen = backward.need_positions ? scratch.sight() : sight;
      if (backward.need_weight) {
        T* grad_weight = sums.weight.data() + block.transposed_offset;
        products.columns_to_weight(part, block, pixels, seen, columns.data(), grad_weight);
      }
      if (!need_input) continue;
      if (&block != &part.blocks.front()) {
        input_products.template columns_to_outputs<Result::kAdd>(part, block, pixels, seen, columns.data(), out, rows);
      } else {
        input_products.template columns_to_outputs<Result::kStore>(part, block, pixels, seen, columns.data(), out, rows);
      }
    }
    if (copies) send_outputs(g, tile, out, problem.forward.output, backward.layout);
  }
  bool finite = products.are_finite() && input_products.are_finite();
  for (double& sum : sums.positions) {
    sum = -sum;  // a position that grows moves its mirror image the other way
    finite = finite && std::isfinite(sum);
  }
  return finite;
}

}  // namespace acu::ACU_INSTRUCTION_SET
