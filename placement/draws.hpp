#pragma once

#include <cstddef>
#include <cstdint>

namespace moewe {

/// A sequence of numbers that look random and are the same everywhere: SplitMix64 (Steele, Lea and Flood,
/// OOPSLA 2014).
class Draws {
 public:
  explicit Draws(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    state_ += 0x9E3779B97F4A7C15U;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31U);
  }

  /// Less than `bound`, which is below 2^32 and not 0.
  std::size_t below(std::size_t bound) { return static_cast<std::size_t>(((next() >> 32U) * bound) >> 32U); }

  /// Nearly normal, with a mean of 0 and a standard deviation of 2^16: a sum of twelve uniform ones.
  std::int64_t normal() {
    std::int64_t sum = -6 * std::int64_t{65535};
    for (int i = 0; i < 3; ++i) {
      for (std::uint64_t bits = next(), part = 0; part < 4; ++part, bits >>= 16U) {
        sum += static_cast<std::int64_t>(bits & 0xFFFFU);
      }
    }
    return sum;
  }

 private:
  std::uint64_t state_;
};

}  // namespace moewe
