// The compiler's own vectors, as wide as the instruction set for which this file is compiled (ACU_VECTOR_BYTES).
// Included inside a region that sets the target (see kernels_avx2.cpp), hence no intrinsics: the same source serves
// x86-64 and ARM64.

#pragma once

#include <cstdint>

#define ACU_INLINE inline __attribute__((always_inline))

namespace acu::ACU_INSTRUCTION_SET {

template <class T>
struct Wide;

template <>
struct Wide<float> {
  typedef float Vector __attribute__((vector_size(ACU_VECTOR_BYTES)));
  typedef float Unaligned __attribute__((vector_size(ACU_VECTOR_BYTES), aligned(4), may_alias));
  static constexpr int64_t kLanes = ACU_VECTOR_BYTES / 4;
};

template <>
struct Wide<double> {
  typedef double Vector __attribute__((vector_size(ACU_VECTOR_BYTES)));
  typedef double Unaligned __attribute__((vector_size(ACU_VECTOR_BYTES), aligned(8), may_alias));
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

template <class S, class T>
ACU_INLINE void add_to(T* to, typename S::Vector value) {
  store<S>(to, load<S>(to) + value);
}

}  // namespace acu::ACU_INSTRUCTION_SET
