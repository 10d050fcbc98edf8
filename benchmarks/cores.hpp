#pragma once

#include <cstddef>

namespace moewe::bench {

/// Pins the calling thread, and those that it starts later, to `count` of the process's cores from the
/// `first`-th on. Throws InvalidInput where the process may use fewer.
void pin_to_cores(std::size_t first, std::size_t count);

}  // namespace moewe::bench
