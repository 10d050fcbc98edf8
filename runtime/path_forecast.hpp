#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "comm/link_costs.hpp"
#include "comm/topology.hpp"
#include "runtime/path.hpp"

namespace moewe {

/// What the steps of a layer are expected to move. The same on every rank.
struct ExpectedTraffic {
  std::size_t num_experts = 0;  ///< placed contiguously
  std::size_t top_k = 0;
  std::size_t row_bytes = 0;
  Combine combine = Combine::reproducible;

  /// In a step; 0 where it is not known, or so many that latencies do not count.
  std::size_t tokens_per_rank = 0;
};

/// What paths between nodes are chosen by. The same on every rank.
struct PathBasis {
  ExpectedTraffic traffic;
  CarrierCosts messages;
  std::optional<LinkCost> memory;  ///< none: two-level cannot be judged, and is not chosen

  /// Whether message and two-level can be told apart.
  bool can_compare() const { return memory && messages.between_nodes; }

  /// Differs, but for a chance of 2^-64, where a choice may.
  std::uint64_t digest() const;
};

/// What a path costs two nodes.
struct PathForecast {
  double crossings = 0;  ///< how often a token is sent to the other node, on average
  double seconds = 0;    ///< for the rows and outputs of one token of each of their ranks
};

/// Predicts what paths between nodes cost when all choices of experts are equally likely: the time of the
/// link, in its busier direction, plus that of the copies inside a node which not every path has to make.
/// Pure.
class PathForecasts {
 public:
  /// The basis outlives this.
  PathForecasts(const Topology& topology, const PathBasis& basis);

  /// By message or two-level between two different nodes, which may change places. Only where the basis
  /// can_compare().
  PathForecast of(PathKind kind, std::size_t node, std::size_t other) const;

  /// The quicker path: two-level if it is, else message, also where they cannot be told apart.
  PathKind best(std::size_t node, std::size_t other) const;

  /// Of the busiest node's messages to other nodes by `between_nodes`, or the quicker path where that is
  /// empty, and to its own ranks too if `messages_inside`: for one token of each rank. To compare carriers.
  double seconds_of_messages(std::optional<PathKind> between_nodes, bool messages_inside) const;

 private:
  /// What one token is expected to send to a node, in rows.
  struct Share {
    double rows_per_rank = 0;  ///< one for each rank of the node that computes some of its experts
    double rows_per_node = 0;  ///< one if the node does
    double outputs = 0;        ///< of all its experts there
  };

  double rows(PathKind kind, std::size_t node) const;
  double returned(PathKind kind, std::size_t node) const;
  double bytes_sent(PathKind kind, std::size_t from, std::size_t to) const;
  double bytes_copied(PathKind kind, std::size_t node, std::size_t other) const;
  double latency_s(const LinkCost& link) const;
  double link_seconds(PathKind kind, std::size_t node, std::size_t other) const;
  double inside_seconds(std::size_t node) const;

  const PathBasis& basis_;
  std::vector<double> ranks_;  // of each node
  std::vector<Share> shares_;  // of each node
};

}  // namespace moewe
