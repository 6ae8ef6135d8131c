// The compiler's own vectors, as wide as the instruction set for which this file is compiled (ACU_VECTOR_BYTES).
// Included inside a region that sets the target (see kernels_avx2.cpp), hence no intrinsics: the same source serves
// x86-64 and ARM64.

#pragma once

#include <algorithm>
#include <cstdint>

#include "element.h"

namespace acu::ACU_INSTRUCTION_SET {

#include "bits16.h"

template <class T>
struct Wide;

template <>
struct Wide<float> {
  typedef float Vector __attribute__((vector_size(ACU_VECTOR_BYTES)));
  typedef float Unaligned __attribute__((vector_size(ACU_VECTOR_BYTES), aligned(4), may_alias));
  typedef uint32_t Bits __attribute__((vector_size(ACU_VECTOR_BYTES)));
  typedef uint32_t Mask __attribute__((vector_size(ACU_VECTOR_BYTES), may_alias));
  typedef uint16_t Bits16 __attribute__((vector_size(ACU_VECTOR_BYTES / 2)));
  typedef uint16_t Unaligned16 __attribute__((vector_size(ACU_VECTOR_BYTES / 2), aligned(2), may_alias));
  static constexpr int64_t kLanes = ACU_VECTOR_BYTES / 4;
};

template <>
struct Wide<double> {
  typedef double Vector __attribute__((vector_size(ACU_VECTOR_BYTES)));
  typedef double Unaligned __attribute__((vector_size(ACU_VECTOR_BYTES), aligned(8), may_alias));
  typedef uint64_t Bits __attribute__((vector_size(ACU_VECTOR_BYTES)));
  typedef uint64_t Mask __attribute__((vector_size(ACU_VECTOR_BYTES), may_alias));
  static constexpr int64_t kLanes = ACU_VECTOR_BYTES / 8;
};

// The width of a panel of columns or outputs, and of the channels that go through the column pass together.
constexpr int kPanelVectors = ACU_PANEL_VECTORS;
template <class T>
constexpr int64_t kPanel = kPanelVectors * Wide<T>::kLanes;

// Four channels at a time, for those that do not fill a vector: images of a few channels are padded to four.
template <class T>
struct Four {
  typedef T Vector __attribute__((vector_size(4 * sizeof(T))));
  typedef T Unaligned __attribute__((vector_size(4 * sizeof(T)), aligned(sizeof(T)), may_alias));
  static constexpr int64_t kLanes = 4;
};

// Half a vector, where one is wider than eight.
template <class T>
struct Half {
  static constexpr int64_t kLanes = Wide<T>::kLanes / 2;
  typedef T Vector __attribute__((vector_size(kLanes * sizeof(T))));
  typedef T Unaligned __attribute__((vector_size(kLanes * sizeof(T)), aligned(sizeof(T)), may_alias));
};

// One channel at a time, for the channels that are still left: the same code with a vector of one.
template <class T>
struct Narrow {
  typedef T Vector;
  typedef T Unaligned;
  static constexpr int64_t kLanes = 1;
};

// Calls f(kind) with the kind of vector that has so many lanes.
template <class T, class F>
ACU_INLINE void with_lanes(int64_t lanes, const F& f) {
  if (lanes == Wide<T>::kLanes) {
    f(Wide<T>{});
    return;
  }
  if constexpr (Wide<T>::kLanes > 8) {
    if (lanes == Half<T>::kLanes) {
      f(Half<T>{});
      return;
    }
  }
  if constexpr (Wide<T>::kLanes > 4) {
    if (lanes == 4) {
      f(Four<T>{});
      return;
    }
  }
  f(Narrow<T>{});
}

template <class S, class T>
ACU_INLINE typename S::Vector load(const T* from) {
  return *reinterpret_cast<const typename S::Unaligned*>(from);
}

template <class S, class T>
ACU_INLINE void store(T* to, typename S::Vector value) {
  *reinterpret_cast<typename S::Unaligned*>(to) = value;
}

// As many 16-bit elements as a vector of floats has lanes, widened.
template <class S, class E>
ACU_INLINE typename S::Vector load_widened(const E* from) {
  if constexpr (kHas16Bits<E>) {
    const typename S::Bits16 bits = *reinterpret_cast<const typename S::Unaligned16*>(from);
    return ACU_INSTRUCTION_SET::widen_bits<typename S::Vector>(E{}, __builtin_convertvector(bits, typename S::Bits));
  } else {
    return load<S>(from);
  }
}

template <class S, class E>
ACU_INLINE void store_rounded(E* to, typename S::Vector value) {
  if constexpr (kHas16Bits<E>) {
    const auto bits = ACU_INSTRUCTION_SET::round_bits<typename S::Bits>(E{}, value);
    *reinterpret_cast<typename S::Unaligned16*>(to) = __builtin_convertvector(bits, typename S::Bits16);
  } else {
    store<S>(to, value);
  }
}

template <class S, class T>
ACU_INLINE void add_to(T* to, typename S::Vector value) {
  store<S>(to, load<S>(to) + value);
}

// to[i] = from[i], widened or rounded where one of them has 16 bits.
template <class From, class To>
void copy_elements(const From* from, int64_t count, To* to) {
  using S = Wide<Widened<From>>;
  if constexpr (std::is_same_v<From, To>) {
    std::copy_n(from, count, to);
  } else {
    int64_t i = 0;
    for (; i + S::kLanes <= count; i += S::kLanes) store_rounded<S>(to + i, load_widened<S>(from + i));
    for (; i < count; ++i) to[i] = round_to<To>(widen(from[i]));
  }
}

}  // namespace acu::ACU_INSTRUCTION_SET
