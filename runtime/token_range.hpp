#pragma once

#include <cstddef>

namespace moewe {

/// Neighbouring tokens, by number.
struct TokenRange {
  std::size_t first = 0;
  std::size_t count = 0;

  std::size_t end() const { return first + count; }
  explicit operator bool() const { return count > 0; }
};

}  // namespace moewe
