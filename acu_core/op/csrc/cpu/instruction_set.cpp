#include "instruction_set.h"

#include <atomic>

namespace acu {

namespace {

std::atomic<int64_t> forced{-1};

InstructionSet best() {
  if (is_supported(InstructionSet::kAvx512)) return InstructionSet::kAvx512;
  if (is_supported(InstructionSet::kAvx2)) return InstructionSet::kAvx2;
  return InstructionSet::kBaseline;
}

}  // namespace

bool is_supported(InstructionSet set) {
#if defined(__x86_64__)
  if (set == InstructionSet::kAvx512) return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("fma");
  if (set == InstructionSet::kAvx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return set == InstructionSet::kBaseline;
}

InstructionSet current_instruction_set() {
  static const InstructionSet automatic = best();
  const int64_t choice = forced.load(std::memory_order_relaxed);
  return choice < 0 ? automatic : static_cast<InstructionSet>(choice);
}

void force_instruction_set(InstructionSet set) { forced.store(static_cast<int64_t>(set)); }

template <class T>
const Kernels<T>& kernels() {
#if defined(__x86_64__)
  if (current_instruction_set() == InstructionSet::kAvx512) return avx512::table<T>();
  if (current_instruction_set() == InstructionSet::kAvx2) return avx2::table<T>();
#endif
  return baseline::table<T>();
}

template const Kernels<float>& kernels<float>();
template const Kernels<double>& kernels<double>();

}  // namespace acu
