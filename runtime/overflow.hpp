#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "comm/communicator.hpp"
#include "runtime/capacity.hpp"
#include "runtime/overflow_report.hpp"
#include "runtime/routing.hpp"

namespace moewe {

/// Collective. Decides which assignments are kept when no expert takes more than `capacity`, in the order of
/// global tokens (rank by rank, token by token, k by k), so that the decision is the same on any number of
/// ranks, but for fair shares:
///
///   drop_last           an expert keeps its first `capacity` assignments
///   drop_lowest_weight  ... those of the largest weights, among equal ones the first
///   next_choice         ... its first; every other assignment bids for the best expert (by selection value)
///                       that had room when the round began and that its token neither chose nor got
///                       otherwise; experts take bids in order, as far as they have room; round after round,
///                       until nobody finds an expert to bid for. A weight is scaled by the ratio of the
///                       selection values
///   drop_..., is_fair   each rank keeps as many as its fair share (runtime/fair_capacity.hpp), of its own
///                       the first, or those of the largest weights; all shares together are the capacity
///   error               throws a shared Error(overflow) that names expert, load and capacity
///
/// `assigned` is agreed: assignments per expert over all ranks. `decided` becomes a copy of this rank's
/// `routing`, with no_expert and weight 0 where an assignment was dropped. next_choice needs the routing's
/// selection values, which have been checked for.
OverflowReport resolve_overflow(Communicator& communicator, const CapacityOptions& options,
                                std::size_t capacity, std::span<const std::int64_t> assigned,
                                const Routing& routing, RoutingTable& decided);

/// Throws InvalidInput unless `given`, of a caller, has a selection value for each token and expert, none of
/// them NaN or infinity (minus infinity: cannot be selected): what next_choice needs.
void check_selection(const Routing& given, std::size_t num_experts, std::size_t layer);

}  // namespace moewe
