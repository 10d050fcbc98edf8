#pragma once

#include <string>
#include <vector>

#include "comm/rank.hpp"
#include "comm/topology.hpp"
#include "runtime/path.hpp"

namespace moewe {

/// Which path the caller wants between different ranks.
enum class PathRequest { automatic, direct, message, two_level };

/// The path to one peer, and why it is that one.
struct PathChoice {
  Rank peer;
  PathKind kind;
  std::string reason;
};

/// The path from `self` to every rank, in rank order. Automatic: direct where the ranks share a node and peer
/// memory can be had, else message. Two-level: that between nodes, direct inside them. A choice is the same
/// from both sides. Throws InvalidInput when direct or two-level is asked for and cannot be.
/// `reason_for_no_peer_memory` is empty if there is peer memory.
std::vector<PathChoice> choose_paths(const Topology& topology, Rank self, PathRequest request,
                                     const std::string& reason_for_no_peer_memory);

}  // namespace moewe
