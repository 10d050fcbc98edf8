#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <fmt/format.h>
#include <string>

namespace moewe {

/// "12.3 k", "4.56 M": three digits and a prefix.
inline std::string human(double value, const char* unit) {
  constexpr std::array<const char*, 7> prefixes{"", "k", "M", "G", "T", "P", "E"};
  std::size_t prefix = 0;
  while (std::abs(value) >= 999.5 && prefix + 1 < prefixes.size()) {
    value /= 1000;
    ++prefix;
  }
  return fmt::format("{:.3g} {}{}", value, prefixes[prefix], unit);
}

/// "12.3 ms", "4.56 s".
inline std::string human_time(double seconds) {
  return seconds < 1 ? fmt::format("{:.3g} ms", seconds * 1e3) : fmt::format("{:.3g} s", seconds);
}

}  // namespace moewe
