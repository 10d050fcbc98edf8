#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "placement/arrangement.hpp"
#include "placement/draws.hpp"
#include "placement/load_flow.hpp"
#include "placement/slot_search.hpp"

namespace moewe {

/// What moves may do.
struct RobustLimits {
  const SlotCosts* costs = nullptr;  ///< none: moves cost nothing
  std::int64_t most_cost = std::numeric_limits<std::int64_t>::max();
  std::int64_t price = 0;  ///< that each scenario's largest load must fall in the mean for a unit of cost
  /// [ranks] where there are several nodes: an expert's next copy comes to a node with the fewest, and what
  /// loses one to another expert is on none more often. Empty: wherever.
  std::vector<std::size_t> node_of_rank = {};
};

/// Lowers the sum, over scenarios of loads, of the largest rank load after the exact split. Moves are drawn
/// from the ranks that prove a scenario's largest load, and judged by what these proofs say of all scenarios
/// after the move; only the best of several is then tried exactly.
class RobustSearch {
 public:
  /// At most 64 scenarios, each of all experts. Keeps a reference to the arrangement.
  RobustSearch(Arrangement& arrangement, const std::vector<std::vector<std::int64_t>>& scenarios,
               std::uint64_t seed, RobustLimits limits = {});

  void run(std::size_t iterations);

  /// Of the largest rank loads.
  std::int64_t sum() const { return sum_; }

 private:
  /// The expert in `from` takes the slot `to`: in place of a replica, or in exchange.
  struct Move {
    std::uint32_t from;
    std::uint32_t to;
    bool is_exchange;
    std::int64_t cost;
  };
  /// One table of loads: its flow, and why its largest rank load is no less.
  struct Scenario {
    FlowState state;
    std::int64_t largest = 0;
    std::vector<std::uint32_t> hot;  ///< ranks; all where the largest load is the mean
  };

  /// What a move means for the proofs of the scenarios; a bit for each of them.
  struct Consequences {
    std::uint32_t taken = 0;         ///< expert in `from`
    std::uint32_t given = 0;         ///< expert in `to`
    std::uint64_t taken_leaves = 0;  ///< is no longer on hot ranks alone
    std::uint64_t taken_enters = 0;
    std::uint64_t given_enters = 0;
    std::uint32_t bound_rank = Arrangement::nobody;  ///< gets more load that no other rank can share
    std::uint64_t is_bound = 0;                      ///< that load is the best bound of the scenario
  };

  void start(std::size_t k);
  void sum_singles(std::size_t rank);
  bool draw(Move& move);
  bool is_allowed(Move& move);
  std::int64_t cost_of(const Move& move) const;
  bool keeps_spread(const Move& move);
  void count_on_nodes(std::uint32_t expert);
  std::uint64_t hot_everywhere(std::uint32_t expert, std::uint32_t but_in) const;
  Consequences consequences(const Move& move) const;
  std::int64_t bound_by_hot(const Move& move, const Consequences& of, std::size_t k) const;
  std::int64_t bound_sum(const Move& move);
  void try_exactly(const Move& move, std::int64_t bounds);
  bool solve(const Move& move, std::uint32_t given, std::int64_t bounds);
  void prove(std::size_t k, std::int64_t bound);
  void adapt(FlowState& state, const Move& move, std::uint32_t given, std::size_t k) const;
  void keep(std::uint32_t taken, std::uint32_t given);

  std::int64_t load(std::size_t k, std::uint32_t expert) const {
    return loads_[expert * scenarios_.size() + k];
  }

  Arrangement& arrangement_;
  LoadFlow flow_;
  Draws draws_;
  std::vector<Scenario> scenarios_;
  std::vector<Scenario> trials_;
  std::vector<std::int64_t> loads_;    // [experts][scenarios]
  std::vector<std::int64_t> singles_;  // [ranks][scenarios] loads of experts with one slot, and base loads
  std::vector<std::uint64_t> is_hot_;  // [ranks] a bit for each scenario that has it in its proof
  std::vector<std::int64_t> means_;    // [scenarios] rounded up
  std::vector<std::int64_t> bounds_;   // [scenarios] of the move in question
  std::vector<std::int64_t> best_bounds_;
  Consequences considered_;         // of the move in question
  Consequences best_;               // of the best one
  std::vector<std::size_t> order_;  // of scenarios, those first that refuted the latest moves
  std::int64_t sum_ = 0;
  RobustLimits limits_;
  std::int64_t cost_ = 0;                // of all moves made
  std::vector<std::size_t> on_node_;     // [nodes] copies of the expert in question
  std::vector<std::size_t> node_sizes_;  // [nodes] ranks
};

}  // namespace moewe
