// What the tensors of a call hold: the kernels' own float or double, or 16 bits, which are widened to float where they are
// read and rounded, once, where they are written. All arithmetic between is float.

#pragma once

#include <cstdint>
#include <type_traits>

#define ACU_INLINE inline __attribute__((always_inline))

namespace acu {

// Of a call of kernels for T: kOwn is T itself.
enum class Element { kOwn, kBFloat16, kFloat16 };

// How images lie in memory: those of input and output and their gradients alike.
struct Layout {
  bool channels_last;
  Element element = Element::kOwn;
};

struct BFloat16 {
  uint16_t bits;
};

struct Float16 {
  uint16_t bits;
};

template <class E>
constexpr bool kHas16Bits = std::is_same_v<E, BFloat16> || std::is_same_v<E, Float16>;

// What is computed with: E, or float in place of 16 bits.
template <class E>
using Widened = std::conditional_t<kHas16Bits<E>, float, E>;

#include "bits16.h"

template <class E>
ACU_INLINE Widened<E> widen(E value) {
  if constexpr (kHas16Bits<E>) {
    return acu::widen_bits<float>(E{}, uint32_t{value.bits});
  } else {
    return value;
  }
}

template <class E>
ACU_INLINE E round_to(Widened<E> value) {
  if constexpr (kHas16Bits<E>) {
    return {static_cast<uint16_t>(acu::round_bits<uint32_t>(E{}, value))};
  } else {
    return value;
  }
}

// Calls f(pointer) with a pointer to what the tensor holds; T is what the kernels compute with.
template <class T, class Void, class F>
ACU_INLINE void with_elements(Element element, Void* data, const F& f) {
  const auto as = [&](auto example) {
    using E = std::conditional_t<std::is_const_v<Void>, const decltype(example), decltype(example)>;
    f(static_cast<E*>(data));
  };
  if constexpr (std::is_same_v<T, float>) {
    if (element == Element::kBFloat16) return as(BFloat16{});
    if (element == Element::kFloat16) return as(Float16{});
  }
  as(T{});
}

}  // namespace acu
