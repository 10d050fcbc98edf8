#pragma once

#include <optional>
#include <string>
#include <vector>

namespace moewe {

/// What it takes a node to move bytes in one way while all of its ranks do so at once: so a link that they
/// share counts once, and one that each of them has counts for as many as they are.
struct LinkCost {
  double latency_s = 0;   ///< of a few bytes
  double s_per_byte = 0;  ///< of all bytes that the node's ranks move together, in the busier direction

  bool operator==(const LinkCost&) const = default;
};

/// What messages cost over one carrier.
struct CarrierCosts {
  std::string carrier;                    ///< as Backend names it
  std::optional<LinkCost> between_nodes;  ///< none where there is one node
  std::optional<LinkCost> inside_nodes;   ///< none where no node has two ranks

  bool operator==(const CarrierCosts&) const = default;
};

/// What moving bytes costs on one cluster, in the slowest of its nodes. The same on every rank.
struct LinkCosts {
  std::vector<CarrierCosts> carriers;

  /// Reading what another rank of the node has written; none where no node has two ranks, or no peer memory.
  std::optional<LinkCost> memory;

  bool operator==(const LinkCosts&) const = default;
};

}  // namespace moewe
