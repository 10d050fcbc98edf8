#pragma once

#include <cmath>
#include <cstdint>

namespace moewe {

/// Of whole numbers that do not fit into 64 bits.
__extension__ using Wide = unsigned __int128;

constexpr Wide wide(std::int64_t value) { return static_cast<Wide>(value); }

/// Rounded down; of less than 2^126. Exact, whatever the rounding of doubles is.
inline std::int64_t square_root(Wide value) {
  if (value == 0) return 0;
  Wide root = static_cast<std::uint64_t>(std::sqrt(static_cast<double>(value)));  // right but for 2^-52 of it
  root = (root + value / root) / 2;
  while (root * root > value) --root;
  while ((root + 1) * (root + 1) <= value) ++root;
  return static_cast<std::int64_t>(root);
}

}  // namespace moewe
