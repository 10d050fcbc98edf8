#include "placement/rebalance.hpp"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <map>
#include <optional>
#include <utility>

#include "comm/error.hpp"
#include "placement/split.hpp"
#include "tests/placement/drawn_loads.hpp"

namespace moewe {
namespace {

using test::DrawnLoads;
using Loads = std::vector<std::int64_t>;

constexpr std::size_t num_experts = 32;
constexpr std::int64_t assignments = 4096;

/// Neighbouring experts together; spare slots hold those of the rank before.
Placement with_spares(std::size_t ranks, std::size_t spares) {
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
RebalanceOptions usual_options() {
  RebalanceOptions options;
  options.expert_bytes = options.bytes_per_step = 1'000'000;
  return options;
}

/// A layer whose experts move as its rebalancer wants it.
class Layer {
 public:
  Layer(Placement placement, const RebalanceOptions& options)
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
