#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "comm/topology.hpp"
#include "placement/placement.hpp"

namespace moewe {

/// One expert's weights on their way from a rank that holds them to one that does not.
struct Move {
  ExpertId expert;
  Rank from;
  Rank to;
  std::uint32_t position;  ///< of the expert's first slot on `to` in the next placement
  std::size_t round;       ///< from 0

  bool operator==(const Move&) const = default;
};

/// How the ranks get from one placement of a layer's experts to another. A pure function of the two and of
/// the nodes, the same on every rank: a rank that already holds an expert keeps its weights, at whatever
/// position; else they come from a rank of its node, where one holds them, and among equals from the one
/// with the fewest to send. In each round a rank sends at most one expert and receives at most one, and
/// there are no more rounds than the busiest rank has experts to send or to receive.
struct MigrationPlan {
  std::uint64_t from_epoch = 0;
  std::uint64_t to_epoch = 0;
  std::vector<Move> moves;  ///< by rounds, and by receivers within a round
  std::size_t num_rounds = 0;

  /// What the rank is to send or to receive in a round; null for nothing.
  const Move* sent_by(Rank rank, std::size_t round) const;
  const Move* received_by(Rank rank, std::size_t round) const;

  std::size_t num_received_by(Rank rank) const;

  /// Equal for equal plans, whatever the process; different, but for a chance of 2^-64, otherwise.
  std::uint64_t digest() const;
};

/// Both placements are of the same experts on the topology's ranks.
MigrationPlan plan_migration(const Placement& now, const Placement& next, const Topology& topology);

/// Different experts that the rank holds: several slots for one of them share its weights.
std::size_t num_distinct_experts(const Placement& placement, Rank rank);

}  // namespace moewe
