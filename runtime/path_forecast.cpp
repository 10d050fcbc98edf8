#include "runtime/path_forecast.hpp"

#include <algorithm>
#include <bit>
#include <xxhash.h>

#include "placement/placement.hpp"

namespace moewe {
namespace {

/// That some of `num_here` experts is among `top_k` different ones of `num_experts`.
double chance_of_any(std::size_t num_here, const ExpectedTraffic& traffic) {
  double none = 1;
  for (std::size_t i = 0; i < traffic.top_k && i < traffic.num_experts; ++i) {
    const auto elsewhere = static_cast<double>(traffic.num_experts) - static_cast<double>(num_here + i);
    none *= std::max(0.0, elsewhere) / static_cast<double>(traffic.num_experts - i);
  }
  return 1 - none;
}

}  // namespace

std::uint64_t PathBasis::digest() const {
  std::vector<std::uint64_t> words{traffic.num_experts, traffic.top_k, traffic.row_bytes,
                                   static_cast<std::uint64_t>(traffic.combine), traffic.tokens_per_rank};
  for (const auto& cost : {messages.between_nodes, messages.inside_nodes, memory}) {
    words.push_back(cost ? 1 : 0);
    words.push_back(std::bit_cast<std::uint64_t>(cost.value_or(LinkCost{}).latency_s));
    words.push_back(std::bit_cast<std::uint64_t>(cost.value_or(LinkCost{}).s_per_byte));
  }
  return XXH3_64bits(words.data(), words.size() * sizeof(words[0]));
}

PathForecasts::PathForecasts(const Topology& topology, const PathBasis& basis)
    : basis_(basis), ranks_(topology.num_nodes(), 0), shares_(topology.num_nodes()) {
  const ExpectedTraffic& traffic = basis.traffic;
  const Placement placement = contiguous_placement(traffic.num_experts, topology.num_ranks());
  std::vector<std::size_t> experts_of_node(topology.num_nodes(), 0);
  for (std::size_t r = 0; r < topology.num_ranks(); ++r) {
    const std::size_t node = topology.node_of(rank_at(r));
    const std::size_t num_experts = placement.experts_of(rank_at(r)).size();
    ranks_[node] += 1;
    experts_of_node[node] += num_experts;
    shares_[node].rows_per_rank += chance_of_any(num_experts, traffic);
  }
  for (std::size_t node = 0; node < shares_.size(); ++node) {
    shares_[node].rows_per_node = chance_of_any(experts_of_node[node], traffic);
    shares_[node].outputs =
        static_cast<double>(traffic.top_k * experts_of_node[node]) / static_cast<double>(traffic.num_experts);
  }
}

double PathForecasts::rows(PathKind kind, std::size_t node) const {
  return kind == PathKind::two_level ? shares_[node].rows_per_node : shares_[node].rows_per_rank;
}

double PathForecasts::returned(PathKind kind, std::size_t node) const {
  return basis_.traffic.combine == Combine::fast ? rows(kind, node) : shares_[node].outputs;
}

/// Rows of the one's tokens, and outputs for the other's.
double PathForecasts::bytes_sent(PathKind kind, std::size_t from, std::size_t to) const {
  const double num_rows = ranks_[from] * rows(kind, to) + ranks_[to] * returned(kind, from);
  return num_rows * static_cast<double>(basis_.traffic.row_bytes);
}

/// Rows are packed once for each that is sent. Two-level, they are also read by ranks that did not receive
/// them, and outputs, or the ranks' sums of them, by the rank that sends them back.
double PathForecasts::bytes_copied(PathKind kind, std::size_t node, std::size_t other) const {
  double num_rows = ranks_[node] * rows(kind, other);
  if (kind == PathKind::two_level) {
    const double read = shares_[node].rows_per_rank * (ranks_[node] - 1) / ranks_[node];
    num_rows += ranks_[other] * (read + returned(PathKind::message, node));
  }
  return num_rows * static_cast<double>(basis_.traffic.row_bytes);
}

/// There and back, for each token of a step.
double PathForecasts::latency_s(const LinkCost& link) const {
  const std::size_t tokens = basis_.traffic.tokens_per_rank;
  return tokens == 0 ? 0 : 2 * link.latency_s / static_cast<double>(tokens);
}

double PathForecasts::link_seconds(PathKind kind, std::size_t node, std::size_t other) const {
  const LinkCost& link = *basis_.messages.between_nodes;
  const double bytes = std::max(bytes_sent(kind, node, other), bytes_sent(kind, other, node));
  return latency_s(link) + link.s_per_byte * bytes;
}

PathForecast PathForecasts::of(PathKind kind, std::size_t node, std::size_t other) const {
  PathForecast forecast;
  forecast.crossings =
      (ranks_[node] * rows(kind, other) + ranks_[other] * rows(kind, node)) / (ranks_[node] + ranks_[other]);
  const double copied = std::max(bytes_copied(kind, node, other), bytes_copied(kind, other, node));
  forecast.seconds = link_seconds(kind, node, other) + basis_.memory->s_per_byte * copied;
  if (kind == PathKind::two_level) forecast.seconds += latency_s(*basis_.memory);
  return forecast;
}

PathKind PathForecasts::best(std::size_t node, std::size_t other) const {
  if (!basis_.can_compare()) return PathKind::message;
  const bool is_quicker =
      of(PathKind::two_level, node, other).seconds < of(PathKind::message, node, other).seconds;
  return is_quicker ? PathKind::two_level : PathKind::message;
}

/// Between the ranks of one node: what all of them send each other.
double PathForecasts::inside_seconds(std::size_t node) const {
  if (!basis_.messages.inside_nodes) return 0;
  const double num_rows = rows(PathKind::message, node) + returned(PathKind::message, node);
  const double bytes = (ranks_[node] - 1) * num_rows * static_cast<double>(basis_.traffic.row_bytes);
  return latency_s(*basis_.messages.inside_nodes) + basis_.messages.inside_nodes->s_per_byte * bytes;
}

double PathForecasts::seconds_of_messages(std::optional<PathKind> between_nodes, bool messages_inside) const {
  double most = 0;
  for (std::size_t node = 0; node < ranks_.size(); ++node) {
    double seconds = messages_inside ? inside_seconds(node) : 0;
    for (std::size_t other = 0; basis_.messages.between_nodes && other < ranks_.size(); ++other) {
      if (other != node) seconds += link_seconds(between_nodes.value_or(best(node, other)), node, other);
    }
    most = std::max(most, seconds);
  }
  return most;
}

}  // namespace moewe
