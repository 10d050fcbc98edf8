#pragma once

#include <optional>
#include <string>
#include <vector>

#include "comm/rank.hpp"
#include "comm/topology.hpp"
#include "runtime/path.hpp"
#include "runtime/path_forecast.hpp"

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
/// memory can be had; between nodes the quicker one of message and two-level by the basis, with the figures
/// in the reason, and message without one. Two-level: that between nodes, direct inside them. A choice is the
/// same from both sides, and the same for all ranks of two nodes. Throws InvalidInput when direct or
/// two-level is asked for and cannot be. `reason_for_no_peer_memory` is empty if there is peer memory.
std::vector<PathChoice> choose_paths(const Topology& topology, Rank self, PathRequest request,
                                     const std::string& reason_for_no_peer_memory,
                                     const std::optional<PathBasis>& basis = std::nullopt);

}  // namespace moewe
