#pragma once

#include <bit>
#include <cstdint>

#include "runtime/kernels/portable.hpp"

namespace moewe {

/// FP8 with 4 bits of exponent (bias 7) and 3 of mantissa, as the Open Compute Project defines E4M3: no
/// infinities, NaN where all bits but the sign are set, largest 448, smallest 2^-9.
enum class E4m3 : std::uint8_t {};

inline constexpr float largest_e4m3 = 448.0F;

MOEWE_PORTABLE inline float to_f32(E4m3 value) {
  constexpr std::uint32_t bias_difference = 127 - 7;
  constexpr float smallest = 1.0F / 512;  // one unit of those that have no leading 1
  const auto bits = static_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits & 0x80U) << 24U;
  const std::uint32_t magnitude = bits & 0x7FU;
  if (magnitude == 0x7FU) return std::bit_cast<float>(sign | 0x7FC00000U);
  if (magnitude < 8) {
    const float small = static_cast<float>(magnitude) * smallest;
    return sign != 0 ? -small : small;
  }
  return std::bit_cast<float>(sign | ((magnitude << 20U) + (bias_difference << 23U)));
}

/// The nearest, ties to even; what is larger than the largest becomes the largest, NaN stays NaN.
MOEWE_PORTABLE inline E4m3 to_e4m3(float value) {
  constexpr std::uint32_t bias_difference = 127 - 7;
  constexpr float smallest_normal = 1.0F / 64;
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 24U) & 0x80U;
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  const float positive = std::bit_cast<float>(magnitude);
  std::uint32_t code = 0x7F;
  if (magnitude > 0x7F800000U) return static_cast<E4m3>(sign | code);
  if (positive >= largest_e4m3) {
    code = 0x7E;
  } else if (positive < smallest_normal) {
    constexpr float no_room = 16384.0F;  // 2^14: its unit is 2^-9, so that adding it rounds to one
    code = std::bit_cast<std::uint32_t>(positive + no_room) - std::bit_cast<std::uint32_t>(no_room);
  } else {
    const std::uint32_t rounded = magnitude + 0x7FFFFU + ((magnitude >> 20U) & 1U);
    code = (rounded - (bias_difference << 23U)) >> 20U;
  }
  return static_cast<E4m3>(sign | code);
}

}  // namespace moewe
