// AVX2 and FMA: 32-byte vectors, 16 registers. Only this file's functions are compiled for it; the system's and the compiler's
// headers come first, so that nothing of theirs is compiled with instructions that the processor may lack.

#include <algorithm>
#include <cstring>
#include <utility>

#include "instruction_set.h"

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

#define ACU_INSTRUCTION_SET avx2
#define ACU_PANEL_VECTORS 2
#define ACU_VECTOR_BYTES 32
#define ACU_WALK_VECTORS 1
#define ACU_MICRO_ROWS 6
// The column buffer of a block (96 x 288 floats, 108 KiB) leaves most of a second-level cache of 512 KiB to the gradients
// and weights that pass by, also where two threads share it; a panel of the packed weight has 18 KiB. From 64 to 192 pixels
// speed differs by a few percent.
#define ACU_TILE_PIXELS 96
#define ACU_BLOCK_COLUMNS 288
#define ACU_INTERLEAVED_IMAGES 1

#include "kernels.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
