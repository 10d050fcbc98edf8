#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/communicator.hpp"
#include "comm/topology.hpp"
#include "placement/placement.hpp"
#include "runtime/routing.hpp"
#include "runtime/slot_choice.hpp"

namespace moewe {

/// How a step's assignments are shared among the slots of its placement. Slots are ordered as in
/// Split::shares: by expert, then as slots_of() has them.
struct StepSplit {
  /// [num_slots] Assignments of all ranks' tokens that a slot computes; the same on every rank. Where nothing
  /// is replicated these are the assignments per expert.
  std::vector<std::int64_t> per_slot;

  /// [num_slots] Of this rank's own tokens alone; empty where nothing is replicated.
  std::vector<std::int64_t> quotas;

  /// Equal on ranks that split alike; 0 where nothing is replicated.
  std::uint64_t digest = 0;
};

/// Ranks that tell one another where a replicated expert's assignments come from, so that these stay on their
/// rank and node where the split allows it. More ranks share them out in global token order, which takes
/// memory for one count per expert instead of one per expert and rank.
inline constexpr std::size_t most_ranks_by_source = 64;

/// Values in which all ranks say where replicated experts' assignments come from, [num_ranks][experts with
/// several slots, ascending]: each rank brings its own, and 0 for the others', so that sums over ranks are
/// everybody's. 0 where nothing is replicated, or ranks are too many to say it.
std::size_t num_source_counts(const Placement& placement);

/// The most that `num_spare` slots beyond one for each expert can come to.
std::size_t most_source_counts(std::size_t num_ranks, std::size_t num_experts, std::size_t num_spare);

/// Appends what `rank` brings to its `counts` [num_experts].
void append_source_counts(const Placement& placement, Rank rank, std::vector<std::int64_t>& counts);

/// Local: what split_step returns on `rank`, of everybody's source counts. The placement has replicas.
StepSplit split_by_source_counts(const Placement& placement, const Topology& topology, Rank rank,
                                 std::span<const std::int64_t> source_counts,
                                 std::span<const std::int64_t> assignments_per_expert);

/// Collective where the placement has replicas: one small exchange of counts. The largest load of a rank is
/// the least possible for this placement, or, where that has ranks of different slowness, the time of the
/// slowest rank. `routing` is this rank's, as it is to be computed (without what was
/// dropped), and `assignments_per_expert` counts that of all ranks.
StepSplit split_step(Communicator& communicator, const Placement& placement, const Routing& routing,
                     std::span<const std::int64_t> assignments_per_expert);

/// How many assignments the slots of `rank` are to compute, by their positions.
std::vector<std::int64_t> assignments_of(Rank rank, const Placement& placement,
                                         std::span<const std::int64_t> per_slot);

/// How many `routing` sends to each slot, if `choice` deals them; with memory for `room` more.
std::vector<std::int64_t> count_slots(const Routing& routing, const Placement& placement, SlotChoice choice,
                                      std::size_t room = 0);

}  // namespace moewe
