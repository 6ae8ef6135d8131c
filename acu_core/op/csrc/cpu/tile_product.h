// Matrix products of split floats (split.h) in tile registers.

#pragma once

#include <algorithm>
#include <utility>

#include "split.h"

namespace acu::ACU_INSTRUCTION_SET {

// One side of a product: tiles, of which all parts of a step of the depth, and all steps, are at fixed distances.
struct Side {
  const uint16_t* tiles;
  int64_t part, step, next;  // elements from a part to the next, from 32 of the depth to the next 32, and to the next 16 rows

  Side from(int64_t i) const { return {tiles + i * next, part, step, next}; }
};

// Steps of a depth that are put down whole: what is left after them is one more, or no more than half of one.
constexpr int64_t whole_steps(int64_t depth) { return (depth + kTileSide - 1) / kTileDepth; }
constexpr bool ends_with_half(int64_t depth) { return whole_steps(depth) * kTileDepth < depth; }

template <int COUNT, class F>
ACU_INLINE void unrolled(const F& f) {
  [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
    (f(std::integral_constant<int, I>{}), ...);
  }(std::make_integer_sequence<int, COUNT>{});
}

// What the vector units do while tiles are multiplied, a little at a time. Here nothing.
struct Nothing {
  template <int PRODUCTS>
  ACU_INLINE void do_some() {}
};

// ROWS x COLUMNS tiles of a result in registers, and room for as many tiles of either side.
template <int ROWS, int COLUMNS>
struct TileSums {
  static constexpr int kRows = ROWS, kColumns = COLUMNS;
  static_assert(ROWS * COLUMNS + ROWS + COLUMNS <= 8);

  // In an order in which each product of tiles needs new ones of one side only. `unread`: 1 KiB. beside.do_some<n>() is called
  // whenever n products have been given out.
  template <class Beside>
  static ACU_INLINE void multiply(int64_t depth, Side left, Side right, uint16_t* unread, Beside& beside) {
    unrolled<ROWS * COLUMNS>([](auto i) { clear_tile<i>(); });
    const uint16_t *a = left.tiles, *b = right.tiles;
    const auto add_beside = [&]() __attribute__((always_inline)) {
      add();
      beside.template do_some<ROWS * COLUMNS>();
    };
    for (int64_t i = whole_steps(depth); i > 0; --i, a += left.step, b += right.step) {
      load_left(a + 2 * left.part, left), load_right(b, right), add_beside();
      load_left(a + left.part, left), add_beside();
      load_right(b + right.part, right), add_beside();
      load_left(a, left), add_beside();
      load_right(b + 2 * right.part, right), add_beside();
      load_right(b, right), add_beside();
      // On Sapphire Rapids the first store of a tile for 2,048 cycles takes 1,000: something falls asleep. Four steps take up to
      // 1,536, and after the last the result is stored.
      if (i % 4 == 0) store_tile<ROWS * COLUMNS>(unread, 64);
    }
    if (!ends_with_half(depth)) return;
    for (int part = 0; part < kParts; ++part) {
      load_left(a + part * left.part, left), load_right(b + part * right.part, right), add();
    }
  }

  // place(i, j): where the sums of tile i, j go, `row` elements from one row to the next.
  template <class Place>
  static ACU_INLINE void store(int64_t row, const Place& place) {
    unrolled<ROWS>([&](auto i) {
      constexpr int kRow = i;
      unrolled<COLUMNS>([&](auto j) { store_tile<kRow * COLUMNS + j>(place(kRow, j), row * sizeof(float)); });
    });
  }

 private:
  static ACU_INLINE void load_left(const uint16_t* from, const Side& side) {
    unrolled<ROWS>([&](auto i) { load_tile<ROWS * COLUMNS + i>(from + i * side.next, 64); });
  }

  static ACU_INLINE void load_right(const uint16_t* from, const Side& side) {
    unrolled<COLUMNS>([&](auto j) { load_tile<ROWS * COLUMNS + ROWS + j>(from + j * side.next, 64); });
  }

  static ACU_INLINE void add() {
    unrolled<ROWS>([](auto i) {
      constexpr int kRow = i;
      unrolled<COLUMNS>([](auto j) {
        multiply_tiles<kRow * COLUMNS + j, ROWS * COLUMNS + kRow, ROWS * COLUMNS + ROWS + j>();
      });
    });
  }
};

// Rows of tiles of a result that is so narrow that all of it is in registers: so the depth is walked over once, a step at a time,
// and a step's parts stay in the first-level cache from their splitting to here. (From the second level they come too slowly for
// these products.)
template <int ROWS, int COLUMNS>
struct NarrowSums {
  static constexpr int kRows = ROWS, kColumns = COLUMNS;
  static_assert(kRows * COLUMNS + 2 <= 8);

  static ACU_INLINE void clear() {
    unrolled<kRows * COLUMNS>([](auto i) { clear_tile<i>(); });
  }

  // One step: left [part][tile], right at the step. beside(i), i from 0 to 6 * kRows - 1, is what the vector units do meanwhile.
  template <class Beside>
  static ACU_INLINE void add_step(const uint16_t* left, const Side& right, const Beside& beside) {
    constexpr int kLeftParts[] = {2, 1, 1, 0, 0, 0}, kRightParts[] = {0, 0, 1, 1, 2, 0};
    unrolled<6>([&](auto product) {
      constexpr int kProduct = product;
      add(left + kLeftParts[kProduct] * kRows * kTileElements, right.tiles + kRightParts[kProduct] * right.part, right.next,
          [&](auto row) __attribute__((always_inline)) { beside(std::integral_constant<int, kRows * kProduct + row>{}); });
    });
  }

  static ACU_INLINE void add_half_step(const uint16_t* left, const Side& right) {
    for (int part = 0; part < kParts; ++part) {
      add(left + part * kRows * kTileElements, right.tiles + part * right.part, right.next, [](auto) {});
    }
  }

  // See TileSums.
  template <class Place>
  static ACU_INLINE void store(int64_t row, const Place& place) {
    unrolled<kRows>([&](auto i) {
      constexpr int kRow = i;
      unrolled<COLUMNS>([&](auto j) { store_tile<kRow * COLUMNS + j>(place(kRow, j), row * sizeof(float)); });
    });
  }

 private:
  template <class Beside>
  static ACU_INLINE void add(const uint16_t* left, const uint16_t* right, int64_t next, const Beside& beside) {
    unrolled<kRows>([&](auto row) {
      constexpr int kRow = row;
      load_tile<6>(left + kRow * kTileElements, 64);
      unrolled<COLUMNS>([&](auto column) {
        constexpr int kColumn = column;
        load_tile<7>(right + kColumn * next, 64);
        multiply_tiles<kRow * COLUMNS + kColumn, 6, 7>();
      });
      beside(row);
    });
  }
};

// Three tiles of it leave nearly half of the first-level cache to what passes them.
constexpr int64_t kShallowDepth = 96;

// Rows of tiles of a result, one after the other and a few tiles wide, where the depth is short: in two sets of registers, so that
// one is stored while the other adds up. (Else the multiplier waits for the last product of each result, which takes 52 cycles,
// and for the first loads of the next.)
template <int COLUMNS>
struct ShallowSums {
  static_assert(2 * COLUMNS + 2 <= 8);

  // `rows` tiles of rows. place(i, j): see TileSums.
  template <class Place>
  static ACU_INLINE void multiply(int64_t rows, int64_t depth, const Side& left, const Side& right, int64_t row_length,
                                  const Place& place) {
    if (rows == 0) return;
    add_row<0>(depth, left, right, [](auto) {});
    int64_t i = 1;
    const auto store_before = [&](auto set, int64_t before) {
      return [&place, row_length, before](auto j) __attribute__((always_inline)) {
        constexpr int kFirst = decltype(set)::value * COLUMNS, kColumn = j;
        store_tile<kFirst + kColumn>(place(before, kColumn), row_length * sizeof(float));
      };
    };
    constexpr std::integral_constant<int, 0> kFirst;
    constexpr std::integral_constant<int, 1> kSecond;
    for (; i + 1 < rows; i += 2) {
      add_row<1>(depth, left.from(i), right, store_before(kFirst, i - 1));
      add_row<0>(depth, left.from(i + 1), right, store_before(kSecond, i));
    }
    if (i < rows) {
      add_row<1>(depth, left.from(i), right, store_before(kFirst, i - 1));
      unrolled<COLUMNS>(store_before(kSecond, i));
    } else {
      unrolled<COLUMNS>(store_before(kFirst, i - 1));
    }
  }

 private:
  // A row of the result, in registers. store(j) puts down tile j of the one before.
  template <int SET, class Store>
  static ACU_INLINE void add_row(int64_t depth, const Side& left, const Side& right, const Store& store) {
    constexpr int kLeftParts[] = {2, 1, 1, 0, 0, 0}, kRightParts[] = {0, 0, 1, 1, 2, 0};
    unrolled<COLUMNS>([](auto j) { clear_tile<SET * COLUMNS + j>(); });
    const uint16_t *a = left.tiles, *b = right.tiles;
    const auto add_step = [&](const auto& beside) __attribute__((always_inline)) {
      unrolled<6>([&](auto product) {
        constexpr int kProduct = product;
        if constexpr (kProduct == 0 || kLeftParts[kProduct] != kLeftParts[kProduct - 1]) {
          load_tile<6>(a + kLeftParts[kProduct] * left.part, 64);
        }
        add<SET>(b + kRightParts[kProduct] * right.part, right.next);
        beside(product);
      });
      a += left.step, b += right.step;
    };
    const int64_t steps = whole_steps(depth);
    if (steps > 0) {
      add_step([&](auto product) __attribute__((always_inline)) {
        if constexpr (product < COLUMNS) store(product);
      });
      for (int64_t i = 1; i < steps; ++i) add_step([](auto) {});
    } else {
      unrolled<COLUMNS>(store);
    }
    if (!ends_with_half(depth)) return;
    for (int part = 0; part < kParts; ++part) {
      load_tile<6>(a + part * left.part, 64);
      add<SET>(b + part * right.part, right.next);
    }
  }

  template <int SET>
  static ACU_INLINE void add(const uint16_t* right, int64_t next) {
    unrolled<COLUMNS>([&](auto j) __attribute__((always_inline)) {
      constexpr int kColumn = j;
      load_tile<7>(right + kColumn * next, 64);
      multiply_tiles<SET * COLUMNS + kColumn, 6, 7>();
    });
  }
};

// Calls f(TileSums, first tile of rows, first tile of columns) until all tiles of a result are computed.
template <class F>
ACU_INLINE void over_tile_sums(int64_t rows, int64_t columns, const F& f) {
  for (int64_t i = 0; i < rows; i += 2) {
    for (int64_t j = 0; j < columns; j += 2) {
      const bool single_row = i + 1 == rows, single_column = j + 1 == columns;
      if (single_row) {
        single_column ? f(TileSums<1, 1>{}, i, j) : f(TileSums<1, 2>{}, i, j);
      } else {
        single_column ? f(TileSums<2, 1>{}, i, j) : f(TileSums<2, 2>{}, i, j);
      }
    }
  }
}

}  // namespace acu::ACU_INSTRUCTION_SET
