#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "comm/communicator.hpp"
#include "runtime/routing.hpp"

namespace moewe {

/// What fair shares are taken of.
struct FairCapacity {
  std::int64_t capacity = 0;               ///< of each expert
  std::span<const std::int64_t> assigned;  ///< agreed: assignments per expert over all ranks
  bool by_weight = false;  ///< a rank keeps the largest weights of its own, else the first of its own
};

/// Collective: some small all-reduces, one for every four bits of the capacity, and a scan. How many of this
/// rank's assignments each expert takes: the fair share of the rank among all ranks, as fair_shares()
/// (placement/fair_shares.hpp) has it, where an expert has more assignments than its capacity; else all.
/// `own` are this rank's assignments per expert. Depends on which rank has which tokens.
std::vector<std::int64_t> fair_share_of_rank(Communicator& communicator, const FairCapacity& fair,
                                             std::span<const std::int64_t> own);

/// Collective. Drops in `decided`, a copy of this rank's `routing`, what is beyond the rank's shares: such
/// assignments get no_expert and weight 0. Returns how many of each expert.
std::vector<std::int64_t> keep_fair_shares(Communicator& communicator, const FairCapacity& fair,
                                           const Routing& routing, RoutingTable& decided);

}  // namespace moewe
