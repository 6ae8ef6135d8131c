// AVX-512F: 64-byte vectors, 32 registers. Only this file's functions are compiled for it; the system's and the compiler's
// headers come first, so that nothing of theirs is compiled with instructions that the processor may lack.

#include <algorithm>
#include <cstring>
#include <utility>

#include "instruction_set.h"

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx2,fma")
#endif

#define ACU_INSTRUCTION_SET avx512
// Panels of 48 floats: 48, 96 and 192 channels are whole panels, and 8 rows of 3 vectors read less than 12 of 2.
#define ACU_PANEL_VECTORS 3
#define ACU_VECTOR_BYTES 64
#define ACU_WALK_VECTORS 3
#define ACU_MICRO_ROWS 8
// Processors that have it have a second-level cache of 1 to 2 MiB: three images of 8 x 8 together are 5 % faster than one.
#define ACU_TILE_PIXELS 192
#define ACU_BLOCK_COLUMNS 288
// 192 channels at 8 x 8: 3 % in forward and 6 % in backward.
#define ACU_INTERLEAVED_IMAGES ACU_MICRO_ROWS

#include "kernels.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
