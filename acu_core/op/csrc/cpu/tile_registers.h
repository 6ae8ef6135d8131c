// AMX: eight registers of 16 rows of 64 bytes, and an instruction that multiplies two of them into a third. By the names of
// the instructions, since a compiler's own functions for them take numbers of registers that templates can't give.
//
// A tile here is 1 KiB of 16 bits: 16 rows of 32. TDPBF16PS adds to 16 x 16 floats a product of depth 32; the depth of the
// right tile goes in pairs, element 2j of the left one's rows meets the low and 2j + 1 the high half of 32 bits of row j.

#pragma once

#include <cstdint>

#include "element.h"

namespace acu::ACU_INSTRUCTION_SET {

constexpr int64_t kTileSide = 16, kTileDepth = 32, kTileElements = kTileSide * kTileDepth;

template <int REGISTER>
ACU_INLINE void load_tile(const void* from, int64_t row_bytes) {
  asm volatile("tileloadd (%0, %1, 1), %%tmm%c2" : : "r"(from), "r"(row_bytes), "i"(REGISTER) : "memory");
}

template <int REGISTER>
ACU_INLINE void store_tile(void* to, int64_t row_bytes) {
  asm volatile("tilestored %%tmm%c2, (%0, %1, 1)" : : "r"(to), "r"(row_bytes), "i"(REGISTER) : "memory");
}

template <int REGISTER>
ACU_INLINE void clear_tile() {
  asm volatile("tilezero %%tmm%c0" : : "i"(REGISTER));
}

template <int SUM, int LEFT, int RIGHT>
ACU_INLINE void multiply_tiles() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(SUM), "i"(LEFT), "i"(RIGHT));
}

// On Sapphire Rapids the multiplier falls asleep after 2,048 cycles without a product, as stores of tiles do, and takes 1,000
// to wake. So a product that nobody needs; what is in the first registers is lost.
ACU_INLINE void stay_awake() { multiply_tiles<0, 1, 2>(); }

// All registers whole, for as long as this lives and in its thread alone.
class TileRegisters {
 public:
  TileRegisters() {
    struct alignas(64) {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {};
      uint8_t rows[16] = {};
    } shapes;
    for (int i = 0; i < 8; ++i) shapes.row_bytes[i] = 64, shapes.rows[i] = kTileSide;
    asm volatile("ldtilecfg %0" : : "m"(shapes));
  }
  ~TileRegisters() { asm volatile("tilerelease"); }
  TileRegisters(const TileRegisters&) = delete;
  TileRegisters& operator=(const TileRegisters&) = delete;
};

}  // namespace acu::ACU_INSTRUCTION_SET
