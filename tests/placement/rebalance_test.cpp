// What a rebalancer makes of patterns of loads.

#include <cmath>
#include <gtest/gtest.h>
#include <map>

#include "comm/error.hpp"
#include "tests/placement/rebalanced_layer.hpp"

namespace moewe {
namespace {

using test::assignments;
using test::DrawnLoads;
using test::Loads;
using test::num_experts;
using test::usual_options;
using test::with_spares;
using Layer = test::RebalancedLayer;

template <typename Visit>
void for_each_shape(std::uint32_t num_seeds, Visit&& visit) {
  for (const std::size_t ranks : {2U, 4U}) {
    for (const std::size_t spares : {1U, 2U}) {
      for (std::uint32_t seed = 0; seed < num_seeds; ++seed) {
        SCOPED_TRACE(testing::Message() << ranks << " ranks, " << spares << " spares, seed " << seed);
        visit(with_spares(ranks, spares), seed);
      }
    }
  }
}

TEST(Rebalancer, NeverMovesWhatIsUnevenByChanceOnly) {
  for_each_shape(3, [](const Placement& placement, std::uint32_t seed) {
    for (const std::int64_t count : {40, 4096}) {
      DrawnLoads loads(num_experts, 0, seed);
      Layer layer(placement, usual_options());
      for (int step = 0; step < 2000; ++step) layer.step(loads.draw(count));
      EXPECT_EQ(layer.num_moves(), 0) << count;
    }
  });
}

TEST(Rebalancer, WaitsForAsManyAssignmentsAsTellChanceFromSkew) {
  for (std::uint32_t seed = 0; seed < 5; ++seed) {
    DrawnLoads loads(num_experts, 0, seed);
    Layer layer(with_spares(4, 0), usual_options());
    for (int step = 0; step < 300; ++step) layer.step(loads.draw(8));
    EXPECT_EQ(layer.num_moves(), 0);
    EXPECT_GT(layer.times(RebalanceReason::noise), 0);
  }
}

TEST(Rebalancer, BalancesSkewedLoadsWithinFiftySteps) {
  int num_uneven = 0;
  for_each_shape(10, [&](const Placement& placement, std::uint32_t seed) {
    DrawnLoads loads(num_experts, 0.8, seed);
    const double before = imbalance(split_loads(placement, loads.draw(1'000'000)).rank_loads);
    Layer layer(placement, usual_options());
    layer.run(loads, 50);
    const double after = layer.run(loads, 20);
    num_uneven += before > 1.11 ? 1 : 0;
    EXPECT_LE(after, before > 1.11 ? 1.05 : 1.12) << before;
    if (std::abs(before - 1.1) > 0.01) {
      EXPECT_EQ(layer.num_moves() > 0, before > 1.11) << before;
    }
  });
  EXPECT_GE(num_uneven, 15);
}

TEST(Rebalancer, PlansAnewAfterAnAbruptChange) {
  int num_uneven = 0;
  for_each_shape(10, [&](const Placement& placement, std::uint32_t seed) {
    DrawnLoads loads(num_experts, 0.8, seed);
    Layer layer(placement, usual_options());
    layer.run(loads, 300);
    const int moves = layer.num_moves();
    loads.change(0.85);
    const double changed = imbalance(split_loads(layer.placement(), loads.draw(1'000'000)).rank_loads);
    layer.run(loads, 50);
    const double after = layer.run(loads, 20);
    num_uneven += changed > 1.12 ? 1 : 0;
    if (changed > 1.12) {
      EXPECT_GT(layer.num_moves(), moves) << changed;
    }
    EXPECT_LE(after, changed > 1.12 ? 1.05 : 1.13) << changed;
    EXPECT_FALSE(layer.rebalancer().disabled_because());
  });
  EXPECT_GE(num_uneven, 5);
}

TEST(Rebalancer, DoesNotChaseLoadsThatTurnBackSooner) {
  for (const int period : {4, 10, 20}) {
    for_each_shape(3, [&](const Placement& placement, std::uint32_t seed) {
      DrawnLoads one(num_experts, 0.8, seed);
      DrawnLoads other(num_experts, 0.8, seed + 100);
      Layer layer(placement, usual_options());
      for (int step = 0; step < 1000; ++step)
        layer.step(((step / period) % 2 == 0 ? one : other).draw(assignments));
      EXPECT_LE(layer.num_moves(), 8) << period;
    });
  }
}

/// Nearly all assignments for experts that only rank 0 holds.
Loads against(const Placement& placement) {
  Loads loads(num_experts, 10);
  for (const ExpertId expert : placement.experts_of(rank_at(0)))
    if (placement.slots_of(expert).size() == 1) loads[index(expert)] = 500;
  return loads;
}

TEST(Rebalancer, DisablesItselfWhereTheGainIsNeverAchieved) {
  for_each_shape(2, [](const Placement& placement, std::uint32_t seed) {
    RebalanceOptions options = usual_options();
    if (seed == 1) options.costs.emplace();
    Layer layer(placement, options);
    std::string said;
    for (int step = 0; step < 1000; ++step) {
      const RebalanceDecision decision = layer.step(against(layer.placement()));
      if (said.empty() && layer.rebalancer().disabled_because()) said = decision.note;
    }
    EXPECT_EQ(layer.num_moves(), 3);
    EXPECT_EQ(layer.rebalancer().misses(), 3U);
    EXPECT_GT(layer.times(RebalanceReason::disabled), 500);
    ASSERT_TRUE(layer.rebalancer().disabled_because());
    EXPECT_EQ(said, *layer.rebalancer().disabled_because());
    EXPECT_EQ(
        said.rfind("layer 0: experts no longer move, since 3 moves gained less than half of what was", 0), 0U)
        << said;
  });
}

TEST(Rebalancer, StaysWhereMovesAreMeasuredToCostMoreThanTheySave) {
  const auto moves_under = [](const MoveCosts& costs) {
    DrawnLoads loads(num_experts, 0.8, 1);
    Layer layer(with_spares(4, 1), usual_options());
    layer.rebalancer().set_move_costs(costs);
    layer.run(loads, 100);
    return layer.num_moves();
  };
  EXPECT_GE(moves_under({50'000, 0}), 1);
  EXPECT_GE(moves_under({50'000, 50'000}), 1);
  EXPECT_EQ(moves_under({900'000'000, 0}), 0);
  EXPECT_EQ(moves_under({50'000, 900'000'000}), 0);
  EXPECT_THROW(moves_under({-1, 0}), InvalidInput);
  EXPECT_THROW(moves_under({0, 1'000'000'001}), InvalidInput);
}

TEST(Rebalancer, IsToldWhatWasMeasured) {
  RebalanceOptions options = usual_options();
  options.is_measured = true;
  DrawnLoads loads(num_experts, 0.8, 1);
  const auto misses_after = [&](std::int64_t half_of_predicted, std::int64_t less) {
    Layer layer(with_spares(4, 1), options);
    std::int64_t predicted = 0;
    for (int step = 0; step < 30; ++step) {
      const RebalanceDecision decision = layer.step(loads.draw(assignments));
      if (decision.is_move()) predicted = decision.saving;
    }
    EXPECT_EQ(layer.num_moves(), 1);
    EXPECT_EQ(layer.rebalancer().misses(), 0U);
    layer.rebalancer().note_achieved(half_of_predicted * (predicted / 2) - less);
    layer.rebalancer().note_achieved(-1);  // nothing waits for it any more
    return layer.rebalancer().misses();
  };
  EXPECT_EQ(misses_after(1, 0), 0U);
  EXPECT_EQ(misses_after(1, 1), 1U);
  EXPECT_EQ(misses_after(-1, 0), 1U);
}

TEST(Rebalancer, PlansAtFixedStepsIfAskedTo) {
  RebalanceOptions options = usual_options();
  options.mode = RebalanceMode::every;
  options.every = 7;
  DrawnLoads loads(num_experts, 0.8, 3);
  const Placement start = with_spares(4, 1);
  Rebalancer rebalancer(2, Topology::one_node(4), num_experts, options);
  Placement placement = start;
  int num_moves = 0;
  for (std::uint64_t step = 0; step < 200; ++step) {
    if (step == 100) loads.change(0.5);
    const RebalanceDecision decision = rebalancer.observe(step, loads.draw(assignments), placement);
    const bool is_due = step > 0 && step % 7 == 0;
    EXPECT_EQ(decision.reason != RebalanceReason::between_plans, is_due) << step;
    EXPECT_TRUE(!is_due || decision.is_move() || decision.reason == RebalanceReason::no_better_plan);
    EXPECT_EQ(decision.layer, 2U);
    if (!decision.is_move()) continue;
    placement = *decision.plan;
    ++num_moves;
  }
  EXPECT_GE(num_moves, 2);
}

TEST(Rebalancer, LeavesAloneWhatNobodyAskedFor) {
  RebalanceOptions options;
  options.mode = RebalanceMode::off;
  DrawnLoads loads(num_experts, 0.8, 1);
  Layer layer(with_spares(2, 1), options);
  layer.run(loads, 100);
  EXPECT_EQ(layer.times(RebalanceReason::off), 100);
}

TEST(Rebalancer, KeepsOnUntilStopAndBeginsAtEnter) {
  const Placement placement(0, 4, {{expert_at(0), expert_at(1)}, {expert_at(2), expert_at(3)}});
  Layer layer(placement, usual_options());
  const auto last_reasons = [&](const Loads& counts) {
    std::map<RebalanceReason, int> reasons;
    for (int step = 0; step < 40; ++step) {
      const RebalanceDecision decision = layer.step(counts);
      if (step >= 20) ++reasons[decision.reason];
    }
    return reasons;
  };
  const auto is_balanced = [](const std::map<RebalanceReason, int>& reasons) {
    return reasons.count(RebalanceReason::balanced) == 1;
  };
  // The more loaded rank has one expert with load: nothing can be better.
  EXPECT_TRUE(is_balanced(last_reasons({10600, 0, 4700, 4700})));
  EXPECT_FALSE(is_balanced(last_reasons({12000, 0, 4000, 4000})));
  EXPECT_FALSE(is_balanced(last_reasons({10600, 0, 4700, 4700})));
  EXPECT_TRUE(is_balanced(last_reasons({9300, 800, 4900, 5000})));
  EXPECT_TRUE(is_balanced(last_reasons({10600, 0, 4700, 4700})));
  EXPECT_EQ(layer.num_moves(), 0);
}

}  // namespace
}  // namespace moewe
