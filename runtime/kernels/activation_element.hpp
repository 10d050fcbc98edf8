#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "runtime/kernels/portable.hpp"
#include "runtime/layer_spec.hpp"

namespace moewe {

/// exp(x) for loops that a compiler can vectorise: x = n ln 2 + r with |r| <= ln 2 / 2, then Taylor's
/// polynomial of degree 6 in r, times 2^n. Cody and Waite's two-part ln 2 keeps r exact. Clamped to where 2^n
/// is a normal number.
MOEWE_PORTABLE inline float exp_of(float x) {
  constexpr float largest = 87.0F;
  constexpr float log2_e = 1.44269504F;
  constexpr float ln2_high = 0.693359375F;
  constexpr float ln2_low = -2.12194440e-4F;
  constexpr float round_to_whole = 12582912.0F;  // 1.5 * 2^23: adding it leaves no room for a fraction
  x = std::min(std::max(x, -largest), largest);
  const float n = (x * log2_e + round_to_whole) - round_to_whole;
  const float r = (x - n * ln2_high) - n * ln2_low;
  float p = 1.0F / 720.0F;
  p = p * r + 1.0F / 120.0F;
  p = p * r + 1.0F / 24.0F;
  p = p * r + 1.0F / 6.0F;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  const auto exponent = static_cast<std::int32_t>(n);
  return p * std::bit_cast<float>((exponent + 127) << 23);
}

MOEWE_PORTABLE inline float silu(float t) { return t / (1.0F + exp_of(-t)); }

/// 0.5 t (1 + tanh u) = t / (1 + exp(-2 u)).
MOEWE_PORTABLE inline float gelu(float t) {
  constexpr float two_sqrt_2_over_pi = 1.59576912F;
  const float two_u = two_sqrt_2_over_pi * (t + 0.044715F * t * t * t);
  return t / (1.0F + exp_of(-two_u));
}

MOEWE_PORTABLE inline float relu(float t) { return std::max(t, 0.0F); }

template <Activation activation>
MOEWE_PORTABLE inline float activated(float t) {
  if constexpr (activation == Activation::silu) return silu(t);
  if constexpr (activation == Activation::gelu) return gelu(t);
  return relu(t);
}

}  // namespace moewe
