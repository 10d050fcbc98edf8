#pragma once

#include <cstddef>
#include <vector>

#include "benchmarks/exchange/exchange_case.hpp"
#include "comm/communicator.hpp"

namespace moewe::bench {

/// Bytes between all pairs of ranks, [from][to].
using TrafficMatrix = std::vector<std::vector<std::size_t>>;

/// What a round trip moves by the arithmetic of the exchange, over all ranks; headers come on top.
struct Traffic {
  TrafficMatrix rows;     ///< tokens that chose at least one expert of a rank, once each
  TrafficMatrix choices;  ///< one row for each choice

  /// [from][node]: tokens that chose at least one expert of a node, once each.
  TrafficMatrix node_rows;

  /// What comes back from each rank.
  const TrafficMatrix& returned(Combine combine) const { return combine == Combine::fast ? rows : choices; }

  /// Bytes that a rank must read and write: rows and outputs of its experts, outputs and sums of its tokens.
  std::size_t least_bytes_of(Rank rank, const ExchangeCase& exchange) const;
};

/// Collective.
Traffic gather_traffic(Communicator& communicator, const ExchangeCase& exchange);

/// Between nodes or, where there is but one, between ranks.
std::size_t bytes_on_wire(const TrafficMatrix& matrix, const Topology& topology);

/// Between nodes, of `node_rows`.
std::size_t bytes_between_nodes(const TrafficMatrix& node_rows, const Topology& topology);

}  // namespace moewe::bench
