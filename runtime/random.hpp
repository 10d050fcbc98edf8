#pragma once

#include <cstdint>

namespace moewe {

/// SplitMix64's output function (Steele, Lea and Flood, OOPSLA 2014): a bijection that scatters close
/// numbers.
constexpr std::uint64_t scatter(std::uint64_t z) {
  z += 0x9E3779B97F4A7C15U;
  z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31U);
}

/// Uniform on (-sqrt(3), sqrt(3)), which has variance 1; from the upper 24 bits, so that f32 holds it exactly
/// before scaling.
constexpr float uniform_value(std::uint64_t bits) {
  constexpr float sqrt_3 = 1.7320508F;
  const auto upper = static_cast<std::int32_t>(bits >> 40U) - (1 << 23);
  return static_cast<float>(upper) * (sqrt_3 / static_cast<float>(1 << 23));
}

}  // namespace moewe
