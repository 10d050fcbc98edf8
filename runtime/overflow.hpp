#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/communicator.hpp"
#include "runtime/capacity.hpp"
#include "runtime/routing.hpp"

namespace moewe {

/// How much an expert takes, and what becomes of the rest.
struct CapacityOptions {
  CapacityRule rule = CapacityRule::megatron;
  double factor = 1.0;
  OverflowPolicy policy = OverflowPolicy::drop_last;

  /// Whether the weights that a token keeps are scaled to the sum that all of them had.
  bool renormalise = false;

  /// Whether each rank gets its fair share of an expert's capacity first, so that no rank's tokens crowd out
  /// those of others. What is kept then depends on which rank has which tokens. Not with next_choice.
  bool is_fair = false;

  bool operator==(const CapacityOptions&) const = default;
};

/// Throws InvalidInput where the options contradict one another.
void check_capacity(const CapacityOptions& options);

/// What became of assignments, per logical expert and over all ranks; the same on every rank.
struct OverflowReport {
  std::size_t capacity = 0;
  std::vector<std::int64_t> assigned;       ///< as routed
  std::vector<std::int64_t> kept;           ///< to be computed by this expert in the end
  std::vector<std::int64_t> over_capacity;  ///< dropped by drop_last or drop_lowest_weight
  std::vector<std::int64_t> no_room;        ///< routed here, and dropped by next_choice: no expert had room
  std::vector<std::int64_t> rerouted_from;
  std::vector<std::int64_t> rerouted_to;

  /// Sums element by element; the capacity becomes the other's.
  void add(const OverflowReport& other);
};

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

}  // namespace moewe
