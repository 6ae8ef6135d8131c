// AVX-512 with AMX: convolutions of as many channels as fill its tiles, in float. All others, and what holds inf or NaN, are
// computed with the kernels for AVX-512.

#include <algorithm>
#include <cstring>
#include <utility>

#include "instruction_set.h"

#if defined(__x86_64__) && defined(__linux__) && ACU_KNOWS_AMX

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("amx-tile,amx-bf16,avx512f,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx2,fma")
#endif

#define ACU_INSTRUCTION_SET amx
#define ACU_TILE_REGISTERS 1
// As for AVX-512 in all that the tile registers don't do.
#define ACU_PANEL_VECTORS 3
#define ACU_VECTOR_BYTES 64
#define ACU_WALK_VECTORS 3
#define ACU_MICRO_ROWS 8
#define ACU_TILE_PIXELS 256
#define ACU_BLOCK_COLUMNS 448

#include "mirrored_backward.h"
#include "spread.h"
#include "tile.h"
#include "tile_backward.h"

namespace acu::amx {

bool forward(const ForwardProblem<float>& problem, int64_t portion, int64_t portions) {
  const Plan& plan = problem.plan;
  const int64_t begin = plan.first_tile(portion, portions), end = plan.first_tile(portion + 1, portions);
  return begin == end || forward_tiles(problem, begin, end);
}

bool backward(const BackwardProblem<float>& problem, int64_t slot, int64_t slots, SlotSums<float>& sums) {
  const Plan& plan = problem.plan;
  sums.start(problem);
  const int64_t begin = plan.first_tile(slot, slots), end = plan.first_tile(slot + 1, slots);
  return begin == end || backward_tiles(problem, begin, end, sums);
}

bool mirrored_backward(const MirroredProblem<float>& problem, int64_t slot, int64_t slots, SlotSums<float>& sums) {
  const BackwardProblem<float>& backward = problem.backward;
  const Plan& plan = backward.plan;
  sums.start(backward);
  if (problem.need_bias) {
    const int64_t images = plan.geometry.images;
    sums.bias.assign(plan.geometry.channels, 0.0);
    add_bias_gradient(plan.geometry, static_cast<const float*>(backward.input), backward.layout.channels_last,
                      images * slot / slots, images * (slot + 1) / slots, sums.bias.data());
  }
  const int64_t begin = plan.first_tile(slot, slots), end = plan.first_tile(slot + 1, slots);
  return begin == end || mirrored_backward_tiles(problem, begin, end, sums);
}

constexpr int64_t kChannels = 32, kOutputs = 32, kPixels = 256;

bool has_pixels(const Geometry& g) { return g.images * g.out_pixels() >= kPixels; }

// Of fewer outputs each number that is split has little to do, and of few pixels most is the splitting of the weight: 16 channels
// at 32 x 32 would take 1.2 times as long as without tiles, 24 outputs of each of four shapes 1.07 times, 512 channels of four
// images of 7 x 7 1.04 times.
bool suits(const Geometry& g) {
  if (g.depthwise() || !has_pixels(g)) return false;
  const Segment segment = cut_into_segments(g).front();
  return g.channels_per_group() >= kChannels && segment.out_end - segment.out_begin >= kOutputs;
}

// Without columns the outputs of all shapes count. What is split and multiplied at once is whole rows of the image.
bool can_do_without_columns(const Geometry& g) {
  return SpreadPlan::is_possible(g) && g.channels >= kChannels && g.outputs >= kOutputs && has_pixels(g) &&
         g.width <= 4 * ACU_TILE_PIXELS;
}

// One shape only where there is enough for every thread: columns can be cut into smaller pieces.
bool spreads(const Geometry& g, int64_t threads) {
  if (!can_do_without_columns(g)) return false;
  const int64_t rows = SpreadPlan::rows_of_busiest(g, threads, SpreadPlan::pieces_for(g, threads));
  return g.position_groups > 1 || 4 * threads * rows <= 5 * g.images * (g.out_height + 3);
}

// One product more, and of G shapes a G-th of the columns: beside columns with AVX-512, four shapes take 0.75 to 0.98 times as
// long, eight 0.59 to 0.88 times; two 0.94 to 1.07, but columns in tiles less (0.79 to 0.87 of 96 and 192 channels).
bool mirrors(const Geometry& g) { return g.position_groups > 2 && can_do_without_columns(g); }

const Kernels<float>& table() {
  static const Kernels<float> kernels = [] {
    const Kernels<float>& others = avx512::table<float>();
    Kernels<float> own{{Wide<float>::kLanes, kPanel<float>, ACU_TILE_PIXELS, ACU_BLOCK_COLUMNS, 1},
                       &forward, &backward, &forward_by_spreading<float>, &spreads};
    own.split_weight = &split_weight, own.suits = &suits, own.others = &others;
    own.mirrored_backward = &mirrored_backward, own.mirrors = &mirrors;
    return own;
  }();
  return kernels;
}

}  // namespace acu::amx

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
