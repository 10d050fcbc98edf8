#pragma once

#include "runtime/kernels/portable.hpp"

namespace moewe {

/// The rank that the plan's i-th row goes to. `first_row` is [num_ranks + 1], and i below its last element.
MOEWE_PORTABLE inline std::uint32_t rank_of_row(std::uint32_t i, const std::uint32_t* first_row,
                                                std::uint32_t num_ranks) {
  std::uint32_t low = 0;
  std::uint32_t high = num_ranks;
  while (high - low > 1) {
    const std::uint32_t middle = (low + high) / 2;
    (first_row[middle] <= i ? low : high) = middle;
  }
  return low;
}

}  // namespace moewe
