#include "runtime/path_choice.hpp"

#include <fmt/format.h>

#include "comm/error.hpp"

namespace moewe {
namespace {

/// What all choices of a rank have in common.
struct Situation {
  const Topology& topology;
  Rank self;
  const std::string& no_peer_memory;
  const std::optional<PathBasis>& basis;
  std::optional<PathForecasts> forecasts;  ///< none where paths between nodes cannot be told apart
};

/// Why rows cannot go directly, or empty if they can.
std::string obstacle(const Situation& situation, Rank peer) {
  if (!situation.topology.share_node(situation.self, peer)) {
    return fmt::format("ranks {} and {} are on different nodes", number(situation.self), number(peer));
  }
  return situation.no_peer_memory.empty() ? "" : "no shared memory: " + situation.no_peer_memory;
}

std::string rate(const LinkCost& cost) {
  constexpr double mega_per_giga = 1000;
  const double megabytes_per_s = cost.s_per_byte > 0 ? 1e-6 / cost.s_per_byte : 0;
  return megabytes_per_s < mega_per_giga ? fmt::format("{:.3g} MB/s", megabytes_per_s)
                                         : fmt::format("{:.3g} GB/s", megabytes_per_s / mega_per_giga);
}

std::string duration(double seconds) {
  constexpr double milli = 1e-3;
  return seconds < milli ? fmt::format("{:.3g} us", seconds / (milli * milli))
                         : fmt::format("{:.3g} ms", seconds / milli);
}

/// Why it is this path and not the other one.
std::string compare(PathKind kind, const PathForecast& message, const PathForecast& two_level) {
  const std::string crossings =
      fmt::format("crosses {:.1f} instead of {:.1f} times", two_level.crossings, message.crossings);
  const std::string durations = fmt::format("{} instead of {} for a token of each rank",
                                            duration(two_level.seconds), duration(message.seconds));
  if (kind == PathKind::two_level) return fmt::format("a token {}: {}", crossings, durations);
  return fmt::format("two-level would cost more in copies than a token saves that {}: {}", crossings,
                     durations);
}

/// Between nodes, unless asked otherwise.
PathChoice choose_between_nodes(const Situation& situation, Rank peer) {
  const Topology& topology = situation.topology;
  if (topology.node_ranks(situation.self).size() == 1 && topology.node_ranks(peer).size() == 1) {
    return {peer, PathKind::message, "one rank on each of the two nodes: a token crosses once anyway"};
  }
  if (!situation.forecasts) return {peer, PathKind::message, obstacle(situation, peer)};
  const std::size_t here = topology.node_of(situation.self);
  const std::size_t there = topology.node_of(peer);
  const PathKind kind = situation.forecasts->best(here, there);
  return {peer, kind,
          fmt::format("{} between nodes, {} inside: {}", rate(*situation.basis->messages.between_nodes),
                      rate(*situation.basis->memory),
                      compare(kind, situation.forecasts->of(PathKind::message, here, there),
                              situation.forecasts->of(PathKind::two_level, here, there)))};
}

PathChoice choose_automatically(const Situation& situation, Rank peer) {
  if (!situation.topology.share_node(situation.self, peer)) return choose_between_nodes(situation, peer);
  const std::string why_not = obstacle(situation, peer);
  if (!why_not.empty()) return {peer, PathKind::message, why_not};
  const bool is_all = situation.topology.num_nodes() == 1;
  return {peer, PathKind::direct, is_all ? "same node, as all ranks: nothing to measure" : "same node"};
}

PathChoice choose(const Situation& situation, Rank peer, PathRequest request) {
  if (peer == situation.self) return {peer, PathKind::local, "same rank"};
  if (request == PathRequest::automatic) return choose_automatically(situation, peer);
  if (request == PathRequest::message) return {peer, PathKind::message, "asked for"};
  if (request == PathRequest::two_level) {
    const bool is_near = situation.topology.share_node(situation.self, peer);
    return {peer, is_near ? PathKind::direct : PathKind::two_level, is_near ? "same node" : "asked for"};
  }
  const std::string why_not = obstacle(situation, peer);
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
                                     const std::string& reason_for_no_peer_memory,
                                     const std::optional<PathBasis>& basis) {
  if (request == PathRequest::two_level) require_two_level(topology, reason_for_no_peer_memory);
  Situation situation{topology, self, reason_for_no_peer_memory, basis, std::nullopt};
  if (basis && basis->can_compare() && reason_for_no_peer_memory.empty())
    situation.forecasts.emplace(topology, *basis);
  std::vector<PathChoice> choices;
  for (std::size_t peer = 0; peer < topology.num_ranks(); ++peer)
    choices.push_back(choose(situation, rank_at(peer), request));
  return choices;
}

}  // namespace moewe
