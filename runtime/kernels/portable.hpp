#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/dtype.hpp"

/// Before functions that compute an element, on the host and on GPUs: what is computed in one place only has
/// the same bits in both. Their sources are compiled without contraction.
#ifdef __CUDACC__
#define MOEWE_PORTABLE __host__ __device__
#else
#define MOEWE_PORTABLE
#endif

/// A kernel's launch function, or null in a build without CUDA.
#ifdef MOEWE_HAS_CUDA
#define MOEWE_ON_GPU(launch) (launch)
#else
#define MOEWE_ON_GPU(launch) nullptr
#endif

namespace moewe {

MOEWE_PORTABLE inline float add_product(float sum, float weight, float value) { return sum + weight * value; }

MOEWE_PORTABLE inline float to_f32(float value) { return value; }
MOEWE_PORTABLE inline float to_f32(Bf16 value) { return widen(value); }

template <typename Value>
MOEWE_PORTABLE inline Value from_f32(float value);
template <>
MOEWE_PORTABLE inline float from_f32<float>(float value) {
  return value;
}
template <>
MOEWE_PORTABLE inline Bf16 from_f32<Bf16>(float value) {
  return round_to_bf16(value);
}

}  // namespace moewe
