#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/rank.hpp"

namespace moewe {

/// Which ranks exist and which of them share a node, that is, can address one another's memory.
/// The same value on every rank of a communicator.
class Topology {
 public:
  /// One node label per rank; equal labels mean the same node. Nodes are renumbered in order of appearance.
  explicit Topology(const std::vector<std::uint64_t>& node_labels) {
    std::vector<std::uint64_t> labels;
    for (std::size_t r = 0; r < node_labels.size(); ++r) {
      std::size_t node = 0;
      while (node < labels.size() && labels[node] != node_labels[r]) ++node;
      if (node == labels.size()) {
        labels.push_back(node_labels[r]);
        ranks_of_node_.emplace_back();
      }
      node_of_rank_.push_back(node);
      ranks_of_node_[node].push_back(rank_at(r));
    }
  }

  static Topology one_node(std::size_t num_ranks) {
    return Topology(std::vector<std::uint64_t>(num_ranks, 0));
  }

  std::size_t num_ranks() const { return node_of_rank_.size(); }
  std::size_t num_nodes() const { return ranks_of_node_.size(); }
  std::size_t node_of(Rank rank) const { return node_of_rank_[index(rank)]; }
  bool share_node(Rank a, Rank b) const { return node_of(a) == node_of(b); }

  /// All ranks on the node of `rank`, itself included, in rank order.
  std::span<const Rank> node_ranks(Rank rank) const { return ranks_of_node_[node_of(rank)]; }

 private:
  std::vector<std::size_t> node_of_rank_;
  std::vector<std::vector<Rank>> ranks_of_node_;
};

}  // namespace moewe
