#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "placement/arrangement.hpp"
#include "placement/plan.hpp"

namespace moewe {

/// How many slots each expert gets, of `num_slots` in all: one, and the others one by one to the expert with
/// the largest load per slot, but none more than `most`. There are as many slots as experts at least.
std::vector<std::uint32_t> count_copies(std::span<const std::int64_t> loads, std::size_t num_slots,
                                        std::size_t most);

/// Slots that can be of use: no rank needs more than there are experts. Throws InvalidInput where all
/// together are fewer than the experts, or `space` is not of one topology.
std::vector<std::size_t> usable_slots(const SlotSpace& space, std::size_t num_experts);

/// Ranks, what they have to compute besides experts, and slots of them that can be of use.
struct PackSpace {
  const Topology& topology;
  std::span<const std::size_t> slots_per_rank;
  std::vector<std::int64_t> base_loads;  ///< [num_ranks]
};

/// A first arrangement: experts by load per copy, the largest first, each on the least loaded ranks that have
/// room, on nodes with the fewest copies of it. All slots are filled; an expert whose copies find no room,
/// because ranks may hold one only, gives them to others.
Arrangement pack(std::span<const std::int64_t> loads, const PackSpace& space);

/// A packed arrangement after the exchanges of plan_placement. Its base loads make up for the speeds of ranks
/// at the time that is allowed or, where that was not reached, at a longer one.
Arrangement arrange(std::span<const std::int64_t> loads, const SlotSpace& space, const PlanOptions& options);

}  // namespace moewe
