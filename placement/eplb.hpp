#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "placement/placement.hpp"

namespace moewe {

/// What EPLB places one layer's experts on. Slots are spread evenly over ranks, ranks over nodes; groups are
/// equally many neighbouring experts each.
struct EplbShape {
  std::size_t num_slots = 0;
  std::size_t num_ranks = 1;
  std::size_t num_nodes = 1;
  std::size_t num_groups = 1;

  /// Whether whole groups are put on nodes, and balanced inside these; else everything is one group on one
  /// node.
  bool is_hierarchical() const { return num_nodes > 0 && num_groups % num_nodes == 0 && num_groups > 1; }
};

/// The Expert Parallelism Load Balancer that DeepSeek published, written from its description: a baseline.
/// Hierarchical where the shape is: groups are packed on nodes, and inside each node, as over all ranks
/// otherwise, the expert with the largest load per copy is copied until the slots are full, and copies are
/// packed on ranks, heaviest first. It neither knows a placement that is there already nor minds two copies
/// of an expert on one rank. What its description leaves open, the order of equal loads, is that of the
/// experts, and of an expert's copies. Integers only: the same on every machine.
///
/// Epoch 0. `loads` has each expert's assignments. Throws InvalidInput where groups do not divide experts,
/// nodes do not divide ranks, ranks do not divide slots, or experts do not fit.
Placement eplb_placement(std::span<const std::int64_t> loads, const EplbShape& shape);

}  // namespace moewe
