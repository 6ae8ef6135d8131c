// Any x86-64 (SSE2), ARM64 (NEON) or other processor: 16-byte vectors, whatever the compiler's default target has.

#include "instruction_set.h"

#define ACU_INSTRUCTION_SET baseline
#define ACU_PANEL_VECTORS 2
#define ACU_VECTOR_BYTES 16
#define ACU_WALK_VECTORS 1
#define ACU_TILE_PIXELS 96
#define ACU_BLOCK_COLUMNS 288
#define ACU_INTERLEAVED_IMAGES 1
#if defined(__aarch64__)
#define ACU_MICRO_ROWS 12  // 32 registers
#else
#define ACU_MICRO_ROWS 6
#endif

#include "kernels.h"
