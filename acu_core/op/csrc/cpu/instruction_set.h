// The instruction sets for which the kernels are compiled, and the choice among them at run time.

#pragma once

#include "cells.h"
#include "spread_plan.h"

namespace acu {

enum class InstructionSet : int64_t { kBaseline = 0, kAvx2 = 1, kAvx512 = 2 };

// Whether it was compiled in and this processor has it.
bool is_supported(InstructionSet set);

// The best supported one, or the one that was forced (for tests and comparisons).
InstructionSet current_instruction_set();
void force_instruction_set(InstructionSet set);

template <class T>
const Kernels<T>& kernels();

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

}  // namespace acu
