#pragma once

#include "runtime/kernels/choose_slots.hpp"
#include "runtime/kernels/fill_plan.hpp"
#include "runtime/kernels/portable.hpp"

namespace moewe {

/// Writes what a token sends to a rank: its row, the `row`-th of that rank, and its assignments from
/// `planned` on.
MOEWE_PORTABLE inline void plan_token(const FillPlan& work, std::uint32_t rank, std::uint32_t token,
                                      std::uint32_t row, PlannedAssignment* planned) {
  const std::size_t first = static_cast<std::size_t>(token) * work.top_k;
  work.tokens[work.first_row[rank] + row] = token;
  for (std::uint32_t k = 0; k < work.top_k; ++k) {
    const std::uint32_t slot = work.slots[first + k];
    if (slot == no_slot || work.slot_rank[slot] != rank) continue;
    *planned++ = {row, work.slot_position[slot], token, k, work.weights[first + k]};
  }
}

}  // namespace moewe
