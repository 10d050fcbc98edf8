// What a rebalancer makes of ranks that are not equally fast.

#include <algorithm>
#include <gtest/gtest.h>

#include "comm/error.hpp"
#include "placement/placed_split.hpp"
#include "tests/placement/rebalanced_layer.hpp"

namespace moewe {
namespace {

using test::assignments;
using test::DrawnLoads;
using test::num_experts;
using test::usual_options;
using test::with_spares;
using Layer = test::RebalancedLayer;

std::vector<Millionths> slow(std::size_t num_ranks, std::size_t rank, Millionths slowness) {
  std::vector<Millionths> all(num_ranks, 1'000'000);
  all[rank] = slowness;
  return all;
}

/// Time of the slowest rank over the least possible, of many steps' loads.
double imbalance_in_time(const Placement& placement, DrawnLoads& loads,
                         const std::vector<Millionths>& slowness) {
  const test::Loads many = loads.draw(1'000'000);
  const RankSpeeds speeds(slowness, placement.num_ranks());
  return static_cast<double>(time_as_placed(placement, many, slowness)) /
         static_cast<double>(speeds.mean_time(1'000'000));
}

/// The same of a plan from nothing.
double best_imbalance(const Placement& like, DrawnLoads& loads, const std::vector<Millionths>& slowness) {
  SlotSpace space = SlotSpace::of(like, Topology::one_node(like.num_ranks()));
  space.slowness = slowness;
  return imbalance_in_time(plan_placement(loads.draw(1'000'000), space).with_slowness(slowness), loads,
                           slowness);
}

TEST(RebalancerOfSpeeds, GivesASlowRankLessWhetherOrNotThereAreSpareSlots) {
  int num_moved = 0;
  for (const std::size_t ranks : {2U, 4U}) {
    for (const std::size_t spares : {0U, 1U, 2U}) {
      for (const double sigma : {0.0, 0.8}) {
        for (const bool is_in_time : {false, true}) {
          SCOPED_TRACE(testing::Message() << ranks << " ranks, " << spares << " spares, sigma " << sigma);
          RebalanceOptions options = usual_options();
          if (is_in_time) options.costs.emplace().row = 1000;
          DrawnLoads loads(num_experts, sigma, 3);
          Layer layer(with_spares(ranks, spares), options);
          const std::vector<Millionths> slowness = slow(ranks, 1, 1'600'000);
          layer.rebalancer().set_slowness(slowness);
          const double before = imbalance_in_time(layer.placement(), loads, slowness);
          layer.run(loads, 300);
          const double best = best_imbalance(layer.placement(), loads, slowness);
          EXPECT_LT(imbalance_in_time(layer.placement(), loads, slowness), std::max(1.1, 1.05 * best));
          if (before > 1.15 * best) {
            ++num_moved;
            EXPECT_GE(layer.num_moves(), 1) << before << " " << best;
            EXPECT_EQ(layer.placement().slowness(), slowness);
          }
          EXPECT_FALSE(layer.rebalancer().disabled_because());
        }
      }
    }
  }
  EXPECT_GE(num_moved, 12);
}

TEST(RebalancerOfSpeeds, NeedsNoExpertToMoveWhereCopiesAreEverywhere) {
  std::vector<ExpertId> all;
  for (std::size_t e = 0; e < num_experts; ++e) all.push_back(expert_at(e));
  DrawnLoads loads(num_experts, 0, 1);
  Layer layer(Placement(0, num_experts, {all, all}), usual_options());
  layer.rebalancer().set_slowness(slow(2, 0, 2'000'000));
  std::size_t num_arrivals = 0;
  for (int step = 0; step < 100; ++step) {
    const RebalanceDecision decision = layer.step(loads.draw(assignments));
    if (decision.is_move()) num_arrivals += decision.moves;
  }
  EXPECT_EQ(layer.num_moves(), 1);
  EXPECT_EQ(num_arrivals, 0U);
  EXPECT_LT(imbalance_in_time(layer.placement(), loads, slow(2, 0, 2'000'000)), 1.01);
}

TEST(RebalancerOfSpeeds, GoesBackWhenRanksAreAlikeAgain) {
  DrawnLoads loads(num_experts, 0, 2);
  Layer layer(with_spares(2, 1), usual_options());
  layer.rebalancer().set_slowness(slow(2, 1, 1'600'000));
  layer.run(loads, 200);
  layer.rebalancer().set_slowness({});
  layer.run(loads, 200);
  EXPECT_TRUE(layer.placement().slowness().empty());
  EXPECT_LT(imbalance_in_time(layer.placement(), loads, {}), 1.06);
}

TEST(RebalancerOfSpeeds, ExpectsASlownessToLastForAsLongAsItHas) {
  DrawnLoads loads(num_experts, 0, 2);
  Layer layer(with_spares(2, 1), usual_options());
  layer.run(loads, 100);
  EXPECT_GE(layer.step(loads.draw(assignments)).expected_life, 100U);
  layer.rebalancer().set_slowness(slow(2, 1, 1'600'000));
  EXPECT_EQ(layer.step(loads.draw(assignments)).expected_life, 1U);
  layer.rebalancer().set_slowness(slow(2, 1, 1'600'000));  // which is no other
  EXPECT_EQ(layer.step(loads.draw(assignments)).expected_life, 2U);
}

TEST(RebalancerOfSpeeds, TakesSlownessFromCostsAndRefusesThatOfOtherRanks) {
  RebalanceOptions options = usual_options();
  options.costs.emplace().slowness = slow(2, 1, 2'000'000);
  DrawnLoads loads(num_experts, 0, 2);
  Layer layer(with_spares(2, 1), options);
  layer.run(loads, 100);
  EXPECT_EQ(layer.placement().slowness(), options.costs->slowness);
  EXPECT_THROW(layer.rebalancer().set_slowness(slow(3, 1, 2'000'000)), InvalidInput);
}

TEST(TimeAsPlaced, IsThatOfTheSlowestRankUnderThePlacementsOwnSplit) {
  const Placement both(0, 1, {{expert_at(0)}, {expert_at(0)}});
  const test::Loads loads{900};
  const std::vector<Millionths> slowness = slow(2, 1, 2'000'000);
  EXPECT_EQ(time_as_placed(both, loads, {}), 450);
  EXPECT_EQ(time_as_placed(both, loads, slowness), 900);  // half of it, at half the speed
  EXPECT_EQ(time_as_placed(both.with_slowness(slowness), loads, slowness), 600);
  EXPECT_EQ(time_as_placed(both.with_slowness(slowness), loads, {}), 600);
  const test::Loads many{max_total_load};
  EXPECT_NEAR(static_cast<double>(time_as_placed(both.with_slowness(slowness), many, slowness)),
              static_cast<double>(max_total_load) * 2 / 3, 1e-6 * static_cast<double>(max_total_load));
}

}  // namespace
}  // namespace moewe
