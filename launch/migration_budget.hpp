#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "comm/communicator.hpp"
#include "comm/link_costs.hpp"
#include "runtime/chunk_carrier.hpp"

namespace moewe {

/// Bytes of weights that a rank sends in one step of its engine. The same on every rank at any time. Where
/// nobody says how many, and weights travel between nodes, they are a share of what a node's link carries in
/// a step, so that steps become longer by hardly more than that; steps are timed for it.
class MigrationBudget {
 public:
  /// Of what a node's link carries; its ranks share it.
  static constexpr double link_share = 0.05;

  /// Automatic ones: at least a whole chunk, at most what can be under way; inside nodes a fixed one.
  static constexpr std::size_t least = ChunkCarrier::most_payload;
  static constexpr std::size_t most = ChunkCarrier::window * ChunkCarrier::most_payload;
  static constexpr std::size_t inside_nodes = std::size_t{1} << 20U;

  /// Of one rank, where a node has at most `num_ranks` and a step of the engine takes `step_s`.
  static std::size_t of_link(const LinkCost& link, std::size_t num_ranks, double step_s);

  /// Local. `given` bytes, 0 for an automatic budget. Without `between_nodes` it is the one inside nodes.
  MigrationBudget(const Topology& topology, std::size_t given, std::optional<LinkCost> between_nodes);

  /// Once after each step of a run, with this rank's seconds per step of its engine; all ranks of
  /// `communicator`. Collective now and then: ranks agree on the least of their means since the last time.
  void step_done(Communicator& communicator, double seconds);

  /// For weights of which some go between nodes, and for those that do not.
  std::size_t bytes(bool is_between_nodes) const;

  /// For weights between nodes, where there are several.
  std::size_t bytes() const { return bytes(num_nodes_ > 1); }

  /// Why bytes() is what it is.
  std::string reason() const;

 private:
  bool follows_link() const { return given_ == 0 && num_nodes_ > 1 && link_.has_value(); }

  std::size_t given_;
  std::size_t num_nodes_;
  std::size_t num_ranks_;  // of the node with most
  std::optional<LinkCost> link_;
  std::optional<double> step_s_;  // that ranks have agreed on
  double seconds_ = 0;            // since then
  std::uint64_t num_timed_ = 0;   // the same
  std::uint64_t num_steps_ = 0;
};

}  // namespace moewe
