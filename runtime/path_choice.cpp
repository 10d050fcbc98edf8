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
  const std::string why_not = obstacle(topology, self, peer, no_peer_memory);
  if (request == PathRequest::automatic) {
    return why_not.empty() ? PathChoice{peer, PathKind::direct, "same node"}
                           : PathChoice{peer, PathKind::message, why_not};
  }
  if (!why_not.empty()) throw InvalidInput(fmt::format("path direct cannot be used: {}", why_not));
  return {peer, PathKind::direct, "asked for"};
}

}  // namespace

std::vector<PathChoice> choose_paths(const Topology& topology, Rank self, PathRequest request,
                                     const std::string& reason_for_no_peer_memory) {
  std::vector<PathChoice> choices;
  for (std::size_t peer = 0; peer < topology.num_ranks(); ++peer) {
    choices.push_back(choose(topology, self, rank_at(peer), request, reason_for_no_peer_memory));
  }
  return choices;
}

}  // namespace moewe
