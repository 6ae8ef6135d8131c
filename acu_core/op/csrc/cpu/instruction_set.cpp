#include "instruction_set.h"

#include <atomic>

#if defined(__x86_64__) && defined(__linux__) && ACU_KNOWS_AMX
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace acu {

namespace {

std::atomic<int64_t> forced{-1};

bool has_amx() {
#if defined(__x86_64__) && defined(__linux__) && ACU_KNOWS_AMX
  constexpr unsigned kTiles = 1u << 24, kBFloat16 = 1u << 22;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kTiles) == 0 || (d & kBFloat16) == 0) return false;
  // The system saves the registers of processes that ask for it.
  constexpr int kAskForState = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kAskForState, kTileData) == 0;
#else
  return false;
#endif
}

InstructionSet best() {
  if (is_supported(InstructionSet::kAmx)) return InstructionSet::kAmx;
  if (is_supported(InstructionSet::kAvx512)) return InstructionSet::kAvx512;
  if (is_supported(InstructionSet::kAvx2)) return InstructionSet::kAvx2;
  return InstructionSet::kBaseline;
}

}  // namespace

bool is_supported(InstructionSet set) {
#if defined(__x86_64__)
  if (set == InstructionSet::kAmx) return is_supported(InstructionSet::kAvx512) && has_amx();
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
#if defined(__x86_64__) && defined(__linux__) && ACU_KNOWS_AMX
  if constexpr (std::is_same_v<T, float>) {
    if (current_instruction_set() == InstructionSet::kAmx) return amx::table();
  }
#endif
#if defined(__x86_64__)
  if (current_instruction_set() >= InstructionSet::kAvx512) return avx512::table<T>();
  if (current_instruction_set() == InstructionSet::kAvx2) return avx2::table<T>();
#endif
  return baseline::table<T>();
}

template const Kernels<float>& kernels<float>();
template const Kernels<double>& kernels<double>();

}  // namespace acu
