#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/topology.hpp"
#include "placement/placement.hpp"

namespace moewe {

/// Where the experts of one layer may lie.
struct SlotSpace {
  Topology topology;
  std::vector<std::size_t> slots_per_rank;  ///< [num_ranks]
  std::uint64_t epoch = 0;                  ///< of the placements that are planned
  /// [num_ranks] how much longer than the others a rank computes, above 0 and at most 1000; all alike where
  /// empty. Loads are then planned to be the smaller the slower a rank is, and the largest rank load stands
  /// for the time of the slowest rank, the mean for the least one possible (placement/speeds.hpp).
  std::vector<Millionths> slowness = {};

  /// As many slots on every rank.
  static SlotSpace equal(Topology topology, std::size_t slots_per_rank);

  /// The ranks and slots of `placement`, and its next epoch.
  static SlotSpace of(const Placement& placement, Topology topology);

  std::size_t num_slots() const;
};

struct PlanOptions {
  Millionths target = 1'000'500;      ///< largest over mean rank load at which the search stops
  std::size_t most_exchanges = 1000;  ///< of experts, after the first arrangement
};

/// A placement for these loads (assignments per expert) that is good for the exact split of them: experts
/// with much load get several slots, then pairs of experts are exchanged while the largest rank load falls.
/// Never two slots of one expert on one rank; they are spread over nodes first, where nodes have room. Slots
/// that no expert could use (more than experts on a rank) stay empty.
///
/// The same answer wherever it is computed. Throws InvalidInput where there are fewer slots than experts, a
/// load is negative or their sum above max_total_load (placement/split.hpp).
Placement plan_placement(std::span<const std::int64_t> loads, const SlotSpace& space,
                         const PlanOptions& options = {});

/// How many experts have to be brought to ranks that did not hold them. Both of the same ranks and experts.
std::size_t count_arrivals(const Placement& from, const Placement& to);

/// How many slots hold an expert that the same rank holds in an earlier slot.
std::size_t count_duplicates(const Placement& placement);

}  // namespace moewe
