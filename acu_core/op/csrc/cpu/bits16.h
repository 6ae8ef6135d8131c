// Floats from 16 bits and back, by integers on their bits, and so the same source for one number and for a vector of them: U is
// uint32_t or a vector of it, F float or as long a vector of it.
//
// Included in two namespaces, hence no guard: once for numbers, and once for each instruction set (vector.h), since the
// compiler cuts a vector into pieces where it reads the function, not where it inlines it.

// All ones where a < b, of numbers below 2^31.
template <class U>
ACU_INLINE U below(U a, U b) {
  if constexpr (std::is_integral_v<U>) {
    return a < b ? ~U{0} : U{0};
  } else {
    using Signed = decltype(a < b);  // vectors of older processors have no comparison without sign
    return (U)((Signed)a < (Signed)b);
  }
}

template <class U>
ACU_INLINE U choose(U mask, U a, U b) {
  return (mask & a) | (~mask & b);
}

template <class F, class U>
ACU_INLINE F widen_bits(BFloat16, U bits) {
  return __builtin_bit_cast(F, bits << 16);
}

template <class F, class U>
ACU_INLINE F widen_bits(Float16, U bits) {
  const U magnitude = bits & 0x7fff, sign = (bits & 0x8000) << 16;
  U wide = (magnitude << 13) + (112u << 23);         // the exponent counts from -15, and from -127
  wide += below(U{} + 0x7bff, magnitude) & (112u << 23);  // inf and NaN
  // Below 2^-14 there is no leading one: it is put there and taken away.
  const F smallest = __builtin_bit_cast(F, U{} + (113u << 23));
  const F small = __builtin_bit_cast(F, wide + (1u << 23)) - smallest;
  wide = choose(below(magnitude, U{} + 0x0400), __builtin_bit_cast(U, small), wide);
  return __builtin_bit_cast(F, wide | sign);
}

// To the nearest, of two that are as near to the even one. The upper half of each result means nothing.
template <class U, class F>
ACU_INLINE U round_bits(BFloat16, F value) {
  const U bits = __builtin_bit_cast(U, value), even = (bits >> 16) & 1;
  const U is_nan = below(U{} + 0x7f800000, bits & 0x7fffffff);
  return choose(is_nan, (bits >> 16) | 0x40, (bits + 0x7fff + even) >> 16);
}

template <class U, class F>
ACU_INLINE U round_bits(Float16, F value) {
  const U bits = __builtin_bit_cast(U, value), magnitude = bits & 0x7fffffff, even = (magnitude >> 13) & 1;
  const U normal = (magnitude - (112u << 23) + 0xfff + even) >> 13;
  // Below 2^-14: beside a half, the last bit of a float counts 2^-24, as that of a small Float16 does.
  const F half = __builtin_bit_cast(F, U{} + 0x3f000000);
  const U small = __builtin_bit_cast(U, __builtin_bit_cast(F, magnitude) + half) - 0x3f000000;
  U rounded = choose(below(magnitude, U{} + 0x38800000), small, normal);
  rounded = choose(below(U{} + 0x477fffff, magnitude), U{} + 0x7c00, rounded);  // 65536 and more
  rounded = choose(below(U{} + 0x7f800000, magnitude), U{} + 0x7e00, rounded);
  return rounded | (bits >> 16 & 0x8000);
}
