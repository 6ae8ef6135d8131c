// What the fused kernels ask of a GPU beyond plain C++: threads of a block with barriers, and products of 16x16 tiles
// on tensor cores. Only WMMA's fragments are used, whose layout in the registers is nobody's business but the
// compiler's: so a C++ compiler can stand in for the GPU. It takes all of this from tests/acu_core/op/device_on_host.h,
// included first.
#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <type_traits>

#include "geometry.cuh"

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_pipeline_primitives.h>
#include <mma.h>
#define ACU_DEVICE __device__ __forceinline__
#else
#define ACU_DEVICE inline
#endif

// TF32 and bfloat16 need compute capability 8.0. For older ones the kernels are compiled empty, and never launched.
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define ACU_HAS_TENSOR_CORES
#endif

namespace acu::cuda {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;

// A block of every fused kernel.
constexpr int kWarp = 32;
constexpr int kWarps = 8;
constexpr int kThreads = kWarp * kWarps;
// Rows and columns of a fragment, and what one product adds up: 32 bytes.
constexpr int kSide = 16;
template <typename T>
constexpr int kProductDepth = 32 / sizeof(T);

// Neighbouring numbers that are moved at once: 16 bytes.
template <typename T>
constexpr int kVector = 16 / sizeof(T);

template <typename T>
using Vector = Pack<T, kVector<T>>;

#ifdef ACU_HAS_TENSOR_CORES

// Tensor cores multiply 16-bit numbers exactly, and of float32 the first ten bits of the mantissa (TF32). Sums are
// float32.
template <typename T>
struct Operand {
  using Native = std::conditional_t<std::is_same_v<T, Half>, __half, __nv_bfloat16>;
  using Element = Native;
  static ACU_DEVICE T rounded(float value) { return static_cast<T>(value); }
};

template <>
struct Operand<float> {
  using Native = float;
  using Element = nvcuda::wmma::precision::tf32;
  // The hardware would cut the other bits off.
  static ACU_DEVICE float rounded(float value) { return nvcuda::wmma::__float_to_tf32(value); }
};

// Rounded to what products take.
template <typename T>
ACU_DEVICE Vector<T> pack(const float (&numbers)[kVector<T>]) {
  Vector<T> vector;
  ACU_UNROLL
  for (int i = 0; i < kVector<T>; ++i) vector.values[i] = Operand<T>::rounded(numbers[i]);
  return vector;
}

template <typename T>
ACU_DEVICE Vector<T> no_numbers() {
  Vector<T> vector;
  ACU_UNROLL
  for (int i = 0; i < kVector<T>; ++i) vector.values[i] = T(0.0f);
  return vector;
}

// The first `count` of a vector's numbers, the others 0; `aligned`: a whole vector may be read at once.
template <typename T>
ACU_DEVICE Vector<T> load_some(const T* address, int64_t count, bool aligned) {
  if (aligned && count >= kVector<T>) return load<T, kVector<T>>(address);
  Vector<T> vector = no_numbers<T>();
  ACU_UNROLL
  for (int i = 0; i < kVector<T>; ++i) {
    if (i < count) vector.values[i] = address[i];
  }
  return vector;
}

// Into shared memory. Whole vectors are on their way without a register, many at once: nobody may read what this thread
// has copied before it has called `await_copies` and the block has met at a barrier.
template <typename T>
ACU_DEVICE void copy_some(T* to, const T* from, int64_t count, bool aligned) {
  if (aligned && count >= kVector<T>) {
    __pipeline_memcpy_async(to, from, 16);
  } else {
    store<T, kVector<T>>(to, load_some(from, count, false));
  }
}

ACU_DEVICE void await_copies() {
  __pipeline_commit();
  __pipeline_wait_prior(0);
}

template <typename T>
ACU_DEVICE Vector<T> rounded_vector(Vector<T> vector) {
  if constexpr (std::is_same_v<T, float>) {
    ACU_UNROLL
    for (int i = 0; i < kVector<T>; ++i) vector.values[i] = Operand<T>::rounded(vector.values[i]);
  }
  return vector;
}

template <typename T, typename Layout>
using LeftFragment = nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, kSide, kSide, kProductDepth<T>,
                                            typename Operand<T>::Element, Layout>;
template <typename T>
using RightFragment = nvcuda::wmma::fragment<nvcuda::wmma::matrix_b, kSide, kSide, kProductDepth<T>,
                                             typename Operand<T>::Element, nvcuda::wmma::row_major>;
template <typename T>
using SumFragment = nvcuda::wmma::fragment<nvcuda::wmma::accumulator, kSide, kSide, kProductDepth<T>, float>;

// From shared memory; `address` is a multiple of 32 bytes, and `length`, from one row (or column) to the next, of 16.
// nvcc's own function takes an address of any memory, for which the hardware has no matrix load: it became 16 loads of 4
// bytes and 8 transpositions where these instructions become two loads. Registers stay as the compiler lays them out.
#ifdef __CUDA_ARCH__

#define ACU_LOAD_4(fragment, instruction)                                                                      \
  asm volatile("wmma.load." instruction " {%0, %1, %2, %3}, [%4], %5;"                                         \
               : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])                    \
               : "r"(place), "r"(length)                                                                       \
               : "memory")
#define ACU_LOAD_8(fragment, instruction)                                                                      \
  asm volatile("wmma.load." instruction " {%0, %1, %2, %3, %4, %5, %6, %7}, [%8], %9;"                         \
               : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3]), "=r"(fragment[4]), \
                 "=r"(fragment[5]), "=r"(fragment[6]), "=r"(fragment[7])                                       \
               : "r"(place), "r"(length)                                                                       \
               : "memory")

template <typename T, typename Fragment>
ACU_DEVICE void load_fragment(Fragment& fragment, const T* address, int length) {
  constexpr bool kLeft = std::is_same_v<Fragment, LeftFragment<T, nvcuda::wmma::row_major>>;
  constexpr bool kLeftColumns = std::is_same_v<Fragment, LeftFragment<T, nvcuda::wmma::col_major>>;
  static_assert(kLeft || kLeftColumns || std::is_same_v<Fragment, RightFragment<T>>);
  const unsigned place = static_cast<unsigned>(__cvta_generic_to_shared(address));
  unsigned* registers = reinterpret_cast<unsigned*>(fragment.x);
  if constexpr (std::is_same_v<T, BFloat16>) {
    if constexpr (kLeft) {
      ACU_LOAD_4(registers, "a.sync.aligned.row.m16n16k16.shared.bf16");
    } else if constexpr (kLeftColumns) {
      ACU_LOAD_4(registers, "a.sync.aligned.col.m16n16k16.shared.bf16");
    } else {
      ACU_LOAD_4(registers, "b.sync.aligned.row.m16n16k16.shared.bf16");
    }
  } else if constexpr (std::is_same_v<T, Half>) {
    if constexpr (kLeft) {
      ACU_LOAD_8(registers, "a.sync.aligned.row.m16n16k16.shared.f16");
    } else if constexpr (kLeftColumns) {
      ACU_LOAD_8(registers, "a.sync.aligned.col.m16n16k16.shared.f16");
    } else {
      ACU_LOAD_8(registers, "b.sync.aligned.row.m16n16k16.shared.f16");
    }
  } else {
    if constexpr (kLeft) {
      ACU_LOAD_4(registers, "a.sync.aligned.row.m16n16k8.shared.tf32");
    } else if constexpr (kLeftColumns) {
      ACU_LOAD_4(registers, "a.sync.aligned.col.m16n16k8.shared.tf32");
    } else {
      ACU_LOAD_4(registers, "b.sync.aligned.row.m16n16k8.shared.tf32");
    }
  }
}

#undef ACU_LOAD_4
#undef ACU_LOAD_8

#else

template <typename T, typename Fragment>
ACU_DEVICE void load_fragment(Fragment& fragment, const T* address, int length) {
  nvcuda::wmma::load_matrix_sync(fragment, reinterpret_cast<const typename Operand<T>::Native*>(address), length);
}

#endif

#endif

}  // namespace acu::cuda
