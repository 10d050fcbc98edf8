#pragma once

#include "runtime/kernels/choose_slots.hpp"
#include "runtime/kernels/portable.hpp"

namespace moewe {

/// How many of a token's slots are on the rank. `slots` are the token's, of all tokens' table.
MOEWE_PORTABLE inline std::uint32_t assignments_to(std::uint32_t rank, const std::uint32_t* slots,
                                                   std::uint32_t top_k, const std::uint32_t* slot_rank) {
  std::uint32_t count = 0;
  for (std::uint32_t k = 0; k < top_k; ++k) {
    if (slots[k] != no_slot && slot_rank[slots[k]] == rank) ++count;
  }
  return count;
}

}  // namespace moewe
