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
#define ACU_TILE_PIXELS 192
#define ACU_BLOCK_COLUMNS 448

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

// Of fewer outputs each number that is split has little to do, and of few pixels most is the splitting of the weight: 16 channels
// at 32 x 32 would take 1.2 times as long as without tiles, 24 outputs of each of four shapes 1.07 times, 512 channels of four
// images of 7 x 7 1.04 times.
bool suits(const Geometry& g) {
  constexpr int64_t kChannels = 32, kOutputs = 32, kPixels = 256;
  if (g.depthwise() || g.images * g.out_pixels() < kPixels) return false;
  const Segment segment = cut_into_segments(g).front();
  return g.channels_per_group() >= kChannels && segment.out_end - segment.out_begin >= kOutputs;
}

const Kernels<float>& table() {
  static const Kernels<float> kernels{{Wide<float>::kLanes, kPanel<float>, ACU_TILE_PIXELS, ACU_BLOCK_COLUMNS, 1},
                                      &forward,
                                      &backward,
                                      avx512::table<float>().spread,
                                      &split_weight,
                                      &suits,
                                      &avx512::table<float>()};
  return kernels;
}

}  // namespace acu::amx

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
