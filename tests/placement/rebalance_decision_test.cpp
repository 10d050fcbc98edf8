#include "placement/rebalance_decision.hpp"

#include <algorithm>
#include <gtest/gtest.h>

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

/// The rule as it stands in the header.
bool is_worth_it(const RebalanceDecision& d, const RebalanceOptions& options) {
  const double steps =
      std::max(0.0, static_cast<double>(d.expected_life) - static_cast<double>(d.move_steps));
  return static_cast<double>(d.saving) * steps >
         (1 + static_cast<double>(options.margin) / 1e6) * static_cast<double>(d.cost);
}

TEST(Rebalancer, MovesOnlyWhatSavesMoreThanItCosts) {
  int num_moves = 0;
  int num_refused = 0;
  for (const std::uint64_t steps_per_expert : {1U, 3U, 10U, 30U, 100U}) {
    for (std::uint32_t seed = 0; seed < 4; ++seed) {
      RebalanceOptions options = usual_options();
      options.bytes_per_step = options.expert_bytes / steps_per_expert;
      DrawnLoads loads(num_experts, 0.8, seed);
      Layer layer(with_spares(4, 1), options);
      for (int step = 0; step < 200; ++step) {
        const RebalanceDecision d = layer.step(loads.draw(assignments));
        if (d.moves == 0) continue;
        EXPECT_EQ(d.bytes, d.moves * options.expert_bytes);
        EXPECT_GE(d.move_steps, steps_per_expert);
        if (d.saving > 0) {
          EXPECT_EQ(is_worth_it(d, options), d.is_move()) << to_text(d);
        }
        EXPECT_EQ(d.plan.has_value(), d.is_move());
        num_moves += d.is_move() ? 1 : 0;
        num_refused += d.reason == RebalanceReason::not_worth_it ? 1 : 0;
      }
    }
  }
  EXPECT_GE(num_moves, 5);
  EXPECT_GE(num_refused, 5);
}

TEST(Rebalancer, PredictsWhatThePlanIsThenFoundToBe) {
  DrawnLoads loads(num_experts, 0.8, 5);
  Layer layer(with_spares(4, 2), usual_options());
  RebalanceDecision move;
  while (!move.is_move()) move = layer.step(loads.draw(assignments));
  const Loads seen = layer.rebalancer().pattern().loads();
  EXPECT_NEAR(static_cast<double>(move.imbalance) / 1e6,
              imbalance(split_loads(layer.placement(), seen).rank_loads), 1e-5);
  EXPECT_NEAR(static_cast<double>(move.predicted) / 1e6, imbalance(split_loads(*move.plan, seen).rank_loads),
              1e-5);
  EXPECT_EQ(move.moves, count_arrivals(layer.placement(), *move.plan));
  EXPECT_EQ(move.plan->epoch(), layer.placement().epoch() + 1);
  const double largest = static_cast<double>(split_loads(layer.placement(), seen).largest);
  const double after = static_cast<double>(split_loads(*move.plan, seen).largest);
  EXPECT_NEAR(static_cast<double>(move.saving),
              1e3 * (largest - after) / static_cast<double>(layer.rebalancer().pattern().num_steps()), 2);
}

TEST(Rebalancer, CountsInTimeWhereCoefficientsAreKnown) {
  RebalanceOptions options = usual_options();
  options.costs.emplace();
  options.costs->row = 1000;
  DrawnLoads loads(num_experts, 0.8, 6);
  Layer layer(with_spares(4, 1), options);
  RebalanceDecision move;
  for (int i = 0; i < 50 && !move.is_move(); ++i) move = layer.step(loads.draw(assignments));
  ASSERT_TRUE(move.is_move());
  EXPECT_TRUE(move.is_in_time);
  const double per_step =
      static_cast<double>(assignments) / 4 * 1000 / 1e6;  // ps, for a millionth of imbalance
  EXPECT_NEAR(static_cast<double>(move.saving),
              per_step * static_cast<double>(move.imbalance - move.predicted), 5000);
  // Where experts' weights are all that takes time, there is nothing to gain.
  options.costs->weight_read = max_coefficient;
  Layer bound(with_spares(4, 0), options);
  bound.run(loads, 200);
  EXPECT_EQ(bound.num_moves(), 0);
}

TEST(Rebalancer, DecidesAlikeOnAllRanksAndSaysSoInADigest) {
  DrawnLoads loads(num_experts, 0.8, 7);
  Layer one(with_spares(4, 1), usual_options());
  Layer other(with_spares(4, 1), usual_options());
  std::uint64_t before = 0;
  for (int step = 0; step < 100; ++step) {
    Loads counts = loads.draw(assignments);
    const RebalanceDecision decision = one.step(counts);
    EXPECT_EQ(decision.digest(), other.step(counts).digest());
    EXPECT_NE(decision.digest(), before);
    before = decision.digest();
  }
  Loads counts = loads.draw(assignments);
  const std::uint64_t digest = one.step(counts).digest();
  counts[0] += 40'000;
  EXPECT_NE(other.step(counts).digest(), digest);
  EXPECT_GT(one.num_moves(), 0);
}

TEST(Rebalancer, MayBeToldThatAPlanIsNotCarriedOut) {
  DrawnLoads loads(num_experts, 0.8, 1);
  const Placement placement = with_spares(4, 1);
  Rebalancer rebalancer(0, Topology::one_node(4), num_experts, usual_options());
  int num_moves = 0;
  for (std::uint64_t step = 0; step < 60; ++step) {
    const RebalanceDecision decision = rebalancer.observe(step, loads.draw(assignments), placement);
    if (num_moves == 1) {
      EXPECT_EQ(decision.reason, RebalanceReason::moving);
    }
    if (decision.is_move()) ++num_moves;
    if (step == 30) rebalancer.cancel();
    if (step == 30) num_moves += 10;
  }
  EXPECT_EQ(num_moves, 12);
}

TEST(Rebalancer, RefusesWhatCannotBe) {
  const auto refused = [](auto&& spoil) {
    RebalanceOptions options;
    spoil(options);
    EXPECT_THROW(Rebalancer(0, Topology::one_node(2), 4, options), InvalidInput);
  };
  refused([](RebalanceOptions& o) { o.mode = RebalanceMode::every; });
  refused([](RebalanceOptions& o) { o.stop = 999'999; });
  refused([](RebalanceOptions& o) { o.stop = o.enter + 1; });
  refused([](RebalanceOptions& o) { o.margin = -1; });
  refused([](RebalanceOptions& o) { o.dwell_steps = 0; });
  refused([](RebalanceOptions& o) { o.costs.emplace().slowness = {1}; });
  Rebalancer rebalancer(0, Topology::one_node(2), 4, {});
  const Placement placement = contiguous_placement(4, 2);
  EXPECT_THROW(rebalancer.observe(0, Loads{1, 2, 3}, placement), InvalidInput);
  EXPECT_THROW(rebalancer.observe(0, Loads{1, 2, 3, -4}, placement), InvalidInput);
  EXPECT_THROW(rebalancer.observe(0, Loads{1, 2, 3, 4}, contiguous_placement(4, 4)), InvalidInput);
  EXPECT_EQ(rebalancer.observe(0, Loads{0, 0, 0, 0}, placement).reason, RebalanceReason::too_few_steps);
}

RebalanceDecision move_of(std::size_t layer, std::int64_t saving, std::uint64_t bytes) {
  RebalanceDecision decision;
  decision.layer = layer;
  decision.reason = RebalanceReason::move;
  decision.saving = saving;
  decision.bytes = bytes;
  return decision;
}

TEST(ChooseLayers, TakesTheLargestSavingPerByteWithinTheBudget) {
  std::vector<RebalanceDecision> all{move_of(0, 10, 10), move_of(1, 30, 10), move_of(2, 30, 20),
                                     move_of(3, 5, 1), move_of(4, 100, 1)};
  all[4].reason = RebalanceReason::balanced;
  using Chosen = std::vector<std::size_t>;
  EXPECT_EQ(choose_layers(all, 0), Chosen{3});  // one at least
  EXPECT_EQ(choose_layers(all, 11), (Chosen{1, 3}));
  EXPECT_EQ(choose_layers(all, 21), (Chosen{0, 1, 3}));  // the third does not fit
  EXPECT_EQ(choose_layers(all, 31), (Chosen{1, 2, 3}));
  EXPECT_EQ(choose_layers(all, 41), (Chosen{0, 1, 2, 3}));
  EXPECT_EQ(choose_layers({}, 41), Chosen{});
  all.assign(2, move_of(0, 7, 7));
  EXPECT_EQ(choose_layers(all, 7), Chosen{0});
}

TEST(RebalanceDecision, IsALineOfALog) {
  RebalanceDecision decision = move_of(3, 1500, 20);
  decision.step = 12;
  decision.imbalance = 1'300'000;
  decision.predicted = 1'010'000;
  decision.moves = 2;
  decision.move_steps = 4;
  decision.expected_life = 50;
  decision.cost = 2000;
  EXPECT_EQ(
      to_text(decision),
      "step 12, layer 3: move; imbalance 1.3000 -> 1.0100 by 2 experts, 20 bytes in 4 steps; saves 1.500 "
      "assignments per step for 50 steps, costs 2.000 assignments");
  decision.reason = RebalanceReason::balanced;
  decision.predicted = 0;
  decision.note = "so it is";
  EXPECT_EQ(to_text(decision), "step 12, layer 3: balanced; imbalance 1.3000; so it is");
  EXPECT_STREQ(name_of(RebalanceReason::not_worth_it), "not worth it");
}

}  // namespace
}  // namespace moewe
