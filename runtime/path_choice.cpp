#include "runtime/path_choice.hpp"

#include <fmt/format.h>

#include "comm/error.hpp"

namespace moewe {
namespace {

/// Why rows cannot go directly, or empty if they can.
std::string obstacle(const Topology& topology, Rank self, Rank peer, const std::string& no_peer_memory) {
  if (!topology.share_node(self, peer)) {
    return fmt::format("ranks {} and {} are on different nodes", number(self), number(peer));
  }
  return no_peer_memory.empty() ? "" : "no shared memory: " + no_peer_memory;
}

PathChoice choose(const Topology& topology, Rank self, Rank peer, PathRequest request,
                  const std::string& no_peer_memory) {
  if (peer == self) return {peer, PathKind::local, "same rank"};
  if (request == PathRequest::message) return {peer, PathKind::message, "asked for"};
  if (request == PathRequest::two_level) {
    const bool is_near = topology.share_node(self, peer);
    return {peer, is_near ? PathKind::direct : PathKind::two_level, is_near ? "same node" : "asked for"};
  }
  const std::string why_not = obstacle(topology, self, peer, no_peer_memory);
  if (request == PathRequest::automatic) {
    return why_not.empty() ? PathChoice{peer, PathKind::direct, "same node"}
                           : PathChoice{peer, PathKind::message, why_not};
  }
  if (!why_not.empty()) throw InvalidInput(fmt::format("path direct cannot be used: {}", why_not));
  return {peer, PathKind::direct, "asked for"};
}

/// Throws InvalidInput where rows cannot be handed on inside nodes, or need not be.
void require_two_level(const Topology& topology, const std::string& no_peer_memory) {
  if (topology.num_nodes() == 1) {
    throw InvalidInput("path two-level cannot be used: all ranks are on one node");
  }
  if (!no_peer_memory.empty()) {
    throw InvalidInput("path two-level cannot be used: no shared memory: " + no_peer_memory);
  }
}

}  // namespace

std::vector<PathChoice> choose_paths(const Topology& topology, Rank self, PathRequest request,
                                     const std::string& reason_for_no_peer_memory) {
  if (request == PathRequest::two_level) require_two_level(topology, reason_for_no_peer_memory);
  std::vector<PathChoice> choices;
  for (std::size_t peer = 0; peer < topology.num_ranks(); ++peer) {
    choices.push_back(choose(topology, self, rank_at(peer), request, reason_for_no_peer_memory));
  }
  return choices;
}

}  // namespace moewe
