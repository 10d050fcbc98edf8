#pragma once

#include <cstdint>
#include <span>

namespace moewe {

/// How far apart two samples of the same experts' loads are, in parts per billion of all assignments.
struct Drift {
  std::int64_t distance = 0;  ///< total variation: the share of assignments that go to other experts now
  std::int64_t noise = 0;   ///< the distance to be expected of two samples of this size from one distribution
  std::int64_t spread = 0;  ///< the standard deviation of that

  /// What noise does not explain.
  std::int64_t excess() const { return distance > noise ? distance - noise : 0; }

  /// Whether noise alone would hardly ever be so far apart.
  bool is_significant() const { return distance > noise + 4 * spread; }
};

/// Compares counts per expert of two disjoint times. Each assignment counts as an independent draw, so that
/// the difference of an expert's shares p is normal with variance p (1 - p) (1 / n + 1 / m), where p is taken
/// from both samples together. Nothing has drifted where a sample is empty. Both have the same length and at
/// most max_total_load (placement/split.hpp) in all. Integers only.
Drift compare_loads(std::span<const std::int64_t> now, std::span<const std::int64_t> before);

}  // namespace moewe
