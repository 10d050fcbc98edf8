#pragma once

#include <cstdint>

namespace moewe {

/// Of whole numbers that do not fit into 64 bits.
__extension__ using Wide = unsigned __int128;

constexpr Wide wide(std::int64_t value) { return static_cast<Wide>(value); }

/// Rounded down; of at most 2^126.
constexpr std::int64_t square_root(Wide value) {
  Wide low = 0;
  Wide high = Wide{1} << 63U;
  while (low < high) {
    const Wide middle = low + (high - low + 1) / 2;
    if (middle <= value / middle) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return static_cast<std::int64_t>(low);
}

}  // namespace moewe
