#pragma once

#include <cstdint>
#include <gtest/gtest.h>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "placement/rebalance.hpp"
#include "placement/split.hpp"
#include "tests/placement/drawn_loads.hpp"

namespace moewe::test {

using Loads = std::vector<std::int64_t>;

inline constexpr std::size_t num_experts = 32;
inline constexpr std::int64_t assignments = 4096;

/// Neighbouring experts together; spare slots hold those of the rank before.
inline Placement with_spares(std::size_t ranks, std::size_t spares) {
  std::vector<std::vector<ExpertId>> experts(ranks);
  const std::size_t own = num_experts / ranks;
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    for (std::size_t i = 0; i < own; ++i) experts[rank].push_back(expert_at(rank * own + i));
    for (std::size_t i = 0; i < spares; ++i)
      experts[rank].push_back(expert_at(((rank + ranks - 1) % ranks) * own + i));
  }
  return {0, num_experts, std::move(experts)};
}

/// An expert is as large as a rank may receive in a step.
inline RebalanceOptions usual_options() {
  RebalanceOptions options;
  options.expert_bytes = options.bytes_per_step = 1'000'000;
  return options;
}

/// A layer whose experts move as its rebalancer wants it.
class RebalancedLayer {
 public:
  RebalancedLayer(Placement placement, const RebalanceOptions& options)
      : placement_(std::move(placement)),
        rebalancer_(0, Topology::one_node(placement_.num_ranks()), placement_.num_experts(), options) {}

  RebalanceDecision step(const Loads& counts) {
    if (plan_ && step_ >= arrival_) placement_ = *std::exchange(plan_, std::nullopt);
    RebalanceDecision decision = rebalancer_.observe(step_, counts, placement_);
    if (decision.is_move()) {
      EXPECT_FALSE(plan_);
      plan_ = decision.plan;
      arrival_ = step_ + decision.move_steps;
      ++num_moves_;
    }
    ++reasons_[decision.reason];
    ++step_;
    return decision;
  }

  /// Returns the largest over mean rank load of all these steps together.
  double run(DrawnLoads& loads, int steps) {
    Loads sum(num_experts, 0);
    for (int i = 0; i < steps; ++i) {
      const Loads counts = loads.draw(assignments);
      step(counts);
      for (std::size_t e = 0; e < sum.size(); ++e) sum[e] += counts[e];
    }
    return imbalance(split_loads(placement_, sum).rank_loads);
  }

  const Placement& placement() const { return placement_; }
  const Rebalancer& rebalancer() const { return rebalancer_; }
  Rebalancer& rebalancer() { return rebalancer_; }
  int num_moves() const { return num_moves_; }
  int times(RebalanceReason reason) { return reasons_[reason]; }

 private:
  Placement placement_;
  Rebalancer rebalancer_;
  std::uint64_t step_ = 0;
  std::uint64_t arrival_ = 0;
  std::optional<Placement> plan_;
  int num_moves_ = 0;
  std::map<RebalanceReason, int> reasons_;
};

}  // namespace moewe::test
