#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "placement/placement.hpp"
#include "placement/plan.hpp"

namespace moewe {

struct GroupOptions {
  std::size_t num_groups = 1;  ///< of num_experts / num_groups consecutive experts each
  /// Slots that may hold an expert of a group whose home is another node.
  std::size_t most_foreign = std::numeric_limits<std::size_t>::max();
  Millionths target = 1'020'000;  ///< largest over mean rank load at which the search stops
};

/// A placement for routers that keep a token within few groups of experts: every group has a home node, on
/// which its experts lie but for a few slots, so that tokens reach few nodes; those few are what balances the
/// nodes. Under the conditions of plan_placement; groups per node and slots per rank may differ. Throws
/// InvalidInput also where num_groups does not divide the experts, or a node has too few slots for its
/// groups.
Placement plan_with_groups(std::span<const std::int64_t> loads, const SlotSpace& space,
                           const GroupOptions& options);

/// The home node of each group in `placement`: where most of its experts have a slot, the first among equals.
std::vector<std::size_t> home_nodes(const Placement& placement, const Topology& topology,
                                    std::size_t num_groups);

/// Slots outside the home nodes of their experts' groups.
std::size_t count_foreign(const Placement& placement, const Topology& topology,
                          std::span<const std::size_t> homes);

}  // namespace moewe
