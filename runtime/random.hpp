#pragma once

#include <cstdint>

namespace moewe {

/// SplitMix64's output function (Steele, Lea and Flood, OOPSLA 2014): a bijection that scatters close
/// numbers.
inline std::uint64_t scatter(std::uint64_t z) {
  z += 0x9E3779B97F4A7C15U;
  z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31U);
}

}  // namespace moewe
