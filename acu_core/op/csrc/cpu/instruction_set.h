// The instruction sets for which the kernels are compiled, and the choice among them at run time.

#pragma once

#include "cells.h"
#include "spread_plan.h"

// Whether the compiler's assembler knows AMX, going by its age.
#if defined(__clang__)
#define ACU_KNOWS_AMX (__clang_major__ >= 12)
#else
#define ACU_KNOWS_AMX (__GNUC__ >= 11)
#endif

namespace acu {

// AMX is AVX-512 with it, and on Linux alone, where a process has to ask for its registers.
enum class InstructionSet : int64_t { kBaseline = 0, kAvx2 = 1, kAvx512 = 2, kAmx = 3 };

// Whether it was compiled in and this processor has it.
bool is_supported(InstructionSet set);

// The best supported one, or the one that was forced (for tests and comparisons).
InstructionSet current_instruction_set();
void force_instruction_set(InstructionSet set);

template <class T>
const Kernels<T>& kernels();

// Those for a call: some suit only what fills them, and none that splits floats suits 16 bits, for a weight in three parts would
// be larger than what a convolution of 16 bits takes.
template <class T>
const Kernels<T>& kernels_for(const Geometry& g, Element element) {
  const Kernels<T>& best = kernels<T>();
  const bool suits = best.suits == nullptr || (element == Element::kOwn && best.suits(g));
  return suits ? best : *best.others;
}

// Those that spread forward, of tensors that hold T; null: columns are faster.
template <class T>
const Kernels<T>* kernels_for_spread(const Geometry& g, int64_t threads) {
  const Kernels<T>* kernel = &kernels<T>();
  while (kernel != nullptr && !kernel->spreads(g, threads)) kernel = kernel->others;
  return kernel;
}

namespace baseline {
template <class T>
const Kernels<T>& table();
}
namespace avx2 {
template <class T>
const Kernels<T>& table();
}
namespace avx512 {
template <class T>
const Kernels<T>& table();
}

namespace amx {
const Kernels<float>& table();
}

}  // namespace acu
