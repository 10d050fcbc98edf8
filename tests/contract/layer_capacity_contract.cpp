#include <gtest/gtest.h>
#include <limits>
#include <numeric>

#include "tests/support/layer_runs.hpp"
#include "tests/support/oracle.hpp"
#include "tests/support/overflow_oracle.hpp"
#include "tests/support/routing_cases.hpp"

namespace moewe {
namespace {

using test::expect_shared_error;
using test::forward;
using test::make_layer;
using test::on_every_exchange;
using test::on_every_rank;
using test::OverflowCase;
using test::OverflowOutcome;
using test::OverflowRule;
using test::part_of;
using test::random_floats;
using test::Share;
using test::share_of;

using Counts = std::vector<std::int64_t>;

constexpr OverflowPolicy policies[] = {OverflowPolicy::drop_last, OverflowPolicy::drop_lowest_weight,
                                       OverflowPolicy::next_choice};

/// The tokens of one rank.
OverflowCase share_of_case(const OverflowCase& all, const Share& share) {
  return all.tokens(share.first, share.count);
}

Counts loads_of(const OverflowCase& c) { return count_assignments(c.view(), c.num_experts); }

Counts plus(Counts a, const Counts& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

/// The routing that was decided for a share of all tokens is the oracle's, bit by bit.
void expect_decided(const Routing& decided, const OverflowOutcome& outcome, const Share& share) {
  EXPECT_EQ(std::vector(decided.experts.begin(), decided.experts.end()),
            part_of(outcome.experts, share, decided.top_k));
  EXPECT_EQ(std::vector(decided.weights.begin(), decided.weights.end()),
            part_of(outcome.weights, share, decided.top_k));
}

void expect_counts(const OverflowReport& report, const OverflowOutcome& outcome, OverflowPolicy policy) {
  const Counts none(outcome.kept.size(), 0);
  const bool is_rerouting = policy == OverflowPolicy::next_choice;
  EXPECT_EQ(report.assigned, plus(plus(outcome.kept, outcome.dropped), outcome.rerouted_from));
  EXPECT_EQ(report.kept, plus(outcome.kept, outcome.rerouted_to));
  EXPECT_EQ(report.over_capacity, is_rerouting ? none : outcome.dropped);
  EXPECT_EQ(report.no_room, is_rerouting ? outcome.dropped : none);
  EXPECT_EQ(report.rerouted_from, outcome.rerouted_from);
  EXPECT_EQ(report.rerouted_to, outcome.rerouted_to);
  EXPECT_LE(*std::max_element(report.kept.begin(), report.kept.end()),
            static_cast<std::int64_t>(report.capacity));
}

/// A factor with which the rule of Megatron gives an expert exactly `capacity`, if tokens are as many.
CapacityOptions options_for(const OverflowCase& c, OverflowPolicy policy, bool renormalise) {
  CapacityOptions options;
  options.factor = (static_cast<double>(c.capacity) - 0.5) * static_cast<double>(c.num_experts) /
                   static_cast<double>(c.num_tokens * c.top_k);
  options.policy = policy;
  options.renormalise = renormalise;
  return options;
}

LayerOptions bounded(const CapacityOptions& capacity) {
  LayerOptions options;
  options.capacity = capacity;
  return options;
}

CapacityOptions capacity_options(const OverflowRule& rule) {
  CapacityOptions options;
  options.policy = rule.policy;
  options.renormalise = rule.renormalise;
  return options;
}

/// A case with tokens, and no more capacity than it has tokens.
OverflowCase case_with_tokens(std::uint64_t seed) {
  OverflowCase c = test::random_overflow_case(seed);
  while (c.num_tokens == 0) c = test::random_overflow_case(seed += 1000);
  c.capacity = std::min(c.capacity, c.num_tokens);
  return c;
}

/// A layer for a case, with small experts.
LayerSpec spec_of(const OverflowCase& c) { return {{8, 8}, c.num_experts, {c.top_k, true}}; }

std::string name_of(const OverflowRule& rule) {
  return "policy " + std::to_string(static_cast<int>(rule.policy)) +
         (rule.renormalise ? ", renormalised" : "") + ", capacity " + std::to_string(rule.capacity);
}

/// Calls visit(case, rule) for some seeds and all rules that do not throw.
template <typename Visit>
void for_each_rule(std::uint64_t first, std::uint64_t count, Visit&& visit) {
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    const OverflowCase c = case_with_tokens(seed);
    for (const OverflowPolicy policy : policies) {
      for (const bool renormalise : {false, true}) {
        const OverflowRule rule{policy, c.capacity, renormalise};
        SCOPED_TRACE("seed " + std::to_string(seed) + ", " + name_of(rule));
        visit(c, rule);
      }
    }
  }
}

TEST(LayerCapacityContract, OverflowIsDecidedAsForAllTokensAtOnce) {
  on_every_rank([&](Communicator& communicator, const Backend&) {
    MemoryMeter meter;
    RoutingTable decided(meter);
    for_each_rule(0, 60, [&](const OverflowCase& c, const OverflowRule& rule) {
      const OverflowOutcome outcome = plain_overflow(c.view(), c.num_experts, rule);
      const Share share = share_of(c.num_tokens, communicator);
      const OverflowCase mine = share_of_case(c, share);
      const CapacityOptions options = capacity_options(rule);
      const OverflowReport report =
          resolve_overflow(communicator, options, c.capacity, loads_of(c), mine.view(), decided);
      EXPECT_EQ(report.capacity, c.capacity);
      expect_decided(decided.view(), outcome, share);
      expect_counts(report, outcome, rule.policy);
    });
  });
}

TEST(LayerCapacityContract, WhereNothingOverflowsNothingChanges) {
  on_every_rank([&](Communicator& communicator, const Backend&) {
    for_each_rule(60, 4, [&](const OverflowCase& c, const OverflowRule& rule) {
      const Share share = share_of(c.num_tokens, communicator);
      const OverflowCase mine = share_of_case(c, share);
      MemoryMeter meter;
      RoutingTable decided(meter);
      const CapacityOptions options = capacity_options(rule);
      const OverflowReport report =
          resolve_overflow(communicator, options, c.num_tokens, loads_of(c), mine.view(), decided);
      EXPECT_EQ(report.kept, loads_of(c));
      const Routing same = decided.view();
      EXPECT_EQ(std::vector(same.experts.begin(), same.experts.end()), mine.experts);
      EXPECT_EQ(std::vector(same.weights.begin(), same.weights.end()), mine.weights);
    });
  });
}

/// A step with a rule, and what one rank makes of it.
struct Step {
  std::string name;
  OverflowCase c;
  OverflowRule rule;
  LayerOptions options;
  OverflowOutcome outcome;
  std::vector<float> x;
  std::vector<float> y;
};

std::vector<Step> steps_on_one_rank(std::uint64_t first, std::uint64_t count) {
  std::vector<Step> steps;
  test::with_engine_of_one_rank([&](Engine& engine) {
    for_each_rule(first, count, [&](const OverflowCase& c, const OverflowRule& rule) {
      Step step{name_of(rule),
                c,
                rule,
                bounded(options_for(c, rule.policy, rule.renormalise)),
                plain_overflow(c.view(), c.num_experts, rule),
                random_floats(c.num_tokens * 8, 5),
                {}};
      MoeLayer layer = make_layer(engine, spec_of(c), step.options);
      step.y = forward(layer, step.x, c.view());
      steps.push_back(std::move(step));
    });
  });
  return steps;
}

TEST(LayerCapacityContract, OneRankComputesWhatTheOraclesDo) {
  for (const Step& step : steps_on_one_rank(100, 15)) {
    const OverflowCase& c = step.c;
    const Routing decided{c.num_tokens, c.top_k, step.outcome.experts, step.outcome.weights, {}};
    const std::vector<double> expected =
        plain_moe(spec_of(c), test::GeneratedWeights(spec_of(c), test::weights_seed), decided, step.x);
    for (std::size_t i = 0; i < step.y.size(); ++i) {
      const float* const weights = step.outcome.weights.data() + i / 8 * c.top_k;
      const float sum_of_weights = std::accumulate(weights, weights + c.top_k, 0.0F);
      ASSERT_NEAR(step.y[i], expected[i], 2e-6 * (1 + sum_of_weights)) << step.name << ", value " << i;
    }
  }
}

/// A step of a layer on this rank's share, compared with the oracle and with one rank.
void check_step(Engine& engine, const Step& step) {
  SCOPED_TRACE(step.name);
  const OverflowCase& c = step.c;
  const Share share = share_of(c.num_tokens, engine.communicator());
  MoeLayer layer = make_layer(engine, spec_of(c), step.options);
  EXPECT_EQ(forward(layer, part_of(step.x, share, 8), share_of_case(c, share).view()),
            part_of(step.y, share, 8));

  expect_decided(layer.routing(), step.outcome, share);
  const StepReport& report = layer.report();
  ASSERT_TRUE(report.overflow.has_value());
  EXPECT_EQ(report.overflow->capacity, c.capacity);
  expect_counts(*report.overflow, step.outcome, step.rule.policy);
  EXPECT_EQ(report.assignments_per_expert, loads_of(c));
  const auto experts = layer.placement().experts_of(engine.communicator().rank());
  for (std::size_t slot = 0; slot < experts.size(); ++slot) {
    EXPECT_EQ(report.computed_per_slot.at(slot), report.overflow->kept[index(experts[slot])]);
  }
}

TEST(LayerCapacityContract, StepsKeepWhatTheOracleKeepsOnAnyPath) {
  std::uint64_t first = 100;
  for (const auto& [name, options] : test::exchanges()) {
    SCOPED_TRACE(name);
    const std::vector<Step> steps = steps_on_one_rank(first, 5);
    first += 5;
    on_every_rank([&](Communicator& communicator, const Backend& backend) {
      Engine engine(communicator, backend, options);
      for (const Step& step : steps) check_step(engine, step);
    });
  }
}

/// All tokens choose expert 1 first.
OverflowCase crowded_case() {
  OverflowCase c;
  c.num_tokens = 24;
  c.num_experts = 4;
  c.top_k = 2;
  c.capacity = 6;
  for (std::size_t token = 0; token < c.num_tokens; ++token) {
    for (const int expert : {1, token % 2 == 0 ? 0 : 3}) c.experts.push_back(ExpertId{expert});
    for (const float weight : {0.75F, 0.25F}) c.weights.push_back(weight);
    for (const float value : {0.2F, 0.5F, 0.1F, 0.2F}) c.selection.push_back(value);
  }
  return c;
}

TEST(LayerCapacityContract, ThePolicyErrorNamesExpertLoadAndCapacityAndLeavesTheLayerUsable) {
  on_every_exchange([&](Engine& engine) {
    const OverflowCase c = crowded_case();
    const CapacityOptions strict = options_for(c, OverflowPolicy::error, false);
    MoeLayer layer = make_layer(engine, spec_of(c), bounded(strict));
    const Share share = share_of(c.num_tokens, engine.communicator());
    const std::vector<float> x = part_of(random_floats(c.num_tokens * 8, 5), share, 8);
    OverflowCase mine = share_of_case(c, share);
    for (int time = 0; time < 3; ++time) {
      expect_shared_error(ErrorKind::overflow,
                          "3 of 4 experts got more assignments than their capacity of 6; expert 1 got 24",
                          [&] { forward(layer, x, mine.view()); });
    }
    // Each token's two choices move on, so that every expert gets as many.
    for (std::size_t i = 0; i < mine.experts.size(); ++i) {
      mine.experts[i] = ExpertId{static_cast<std::int32_t>((share.first * 2 + i) % 4)};
    }
    OverflowCase looser = c;
    looser.capacity = 12;
    MoeLayer wide =
        make_layer(engine, spec_of(c), bounded(options_for(looser, OverflowPolicy::error, false)));
    MoeLayer dropless = make_layer(engine, spec_of(c));
    EXPECT_EQ(forward(wide, x, mine.view()), forward(dropless, x, mine.view()));
    EXPECT_EQ(wide.report().overflow->kept, Counts(4, 12));
    // The one that threw, with fewer tokens that fit.
    const bool is_first = engine.communicator().rank() == Rank{0};
    OverflowCase two = crowded_case();
    two = share_of_case(two, {0, is_first ? 2U : 0U});
    two.experts.assign(two.experts.size(), ExpertId{2});
    for (std::size_t i = 0; i < two.experts.size(); i += 2)
      two.experts[i] = ExpertId{static_cast<std::int32_t>(i / 2)};
    const std::vector<float> few = random_floats(two.num_tokens * 8, 7);
    expect_shared_error(ErrorKind::overflow, "capacity of 1; expert 2 got 2",
                        [&] { forward(layer, few, two.view()); });
    for (std::size_t i = 1; i < two.experts.size(); i += 2)
      two.experts[i] = ExpertId{static_cast<std::int32_t>(2 + i / 2)};
    EXPECT_EQ(forward(layer, few, two.view()), forward(dropless, few, two.view()));
  });
}

TEST(LayerCapacityContract, NextChoiceWithoutSelectionValuesIsRefusedTogether) {
  on_every_rank([&](Communicator& communicator, const Backend& backend) {
    Engine engine(communicator, backend, {});
    OverflowCase c = crowded_case();
    MoeLayer layer =
        make_layer(engine, spec_of(c), bounded(options_for(c, OverflowPolicy::next_choice, false)));
    const std::vector<float> x = random_floats(c.num_tokens * 8, 5);
    const Routing with = c.view();
    Routing without = with;
    without.selection = {};
    const bool is_last = index(communicator.rank()) + 1 == communicator.size();
    expect_shared_error(ErrorKind::invalid_input, "selection values, [24, 4]",
                        [&] { forward(layer, x, is_last ? without : with); });
    forward(layer, x, with);
    EXPECT_EQ(layer.report().overflow->kept.size(), 4U);
  });
}

/// Routers that score and select in different ways.
std::vector<RouterSpec> routers() {
  RouterSpec softmax{3, true};
  RouterSpec sigmoid{3, true};
  sigmoid.score = Score::sigmoid;
  sigmoid.has_selection_bias = true;
  RouterSpec grouped = sigmoid;
  grouped.num_groups = 4;
  grouped.kept_groups = 2;
  grouped.group_score = GroupScore::sum_of_two_largest;
  return {softmax, sigmoid, grouped};
}

/// What the router of a layer decides for all tokens without any capacity. Owns it.
OverflowCase routed_on_one_rank(const LayerSpec& spec, const std::vector<float>& x) {
  OverflowCase c;
  test::with_engine_of_one_rank([&](Engine& engine) {
    MoeLayer layer = make_layer(engine, spec);
    std::vector<float> y(x.size());
    layer.forward(x, y);
    const Routing& routing = layer.routing();
    c.num_tokens = routing.num_tokens;
    c.num_experts = spec.num_experts;
    c.top_k = routing.top_k;
    c.experts.assign(routing.experts.begin(), routing.experts.end());
    c.weights.assign(routing.weights.begin(), routing.weights.end());
    c.selection.assign(routing.selection.begin(), routing.selection.end());
  });
  return c;
}

TEST(LayerCapacityContract, SelectionValuesThatAreNoNumbersAreRefusedTogether) {
  const test::RoutingCase c = test::routing_cases().front();
  LayerOptions options;
  options.capacity.emplace();
  options.capacity->policy = OverflowPolicy::next_choice;
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    on_every_rank([&](Communicator& communicator, const Backend& backend) {
      Engine engine(communicator, backend, {});
      MoeLayer layer = make_layer(engine, c.spec, options);
      const test::OwnedRouting routing = test::make_routing(c, 0, c.num_tokens);
      std::vector<float> selection(c.num_tokens * c.spec.num_experts, 0.5F);
      if (communicator.rank() == rank_at(communicator.size() - 1)) selection[c.spec.num_experts + 1] = bad;
      Routing given = routing;
      given.selection = selection;
      const std::vector<float> x(c.num_tokens * c.spec.expert.hidden, 1.0F);
      std::vector<float> y(x.size());
      expect_shared_error(ErrorKind::invalid_input, "token 1: the selection value of expert 1 is",
                          [&] { layer.forward(x, given, y); });
    });
  }
}

TEST(LayerCapacityContract, TheRoutersOwnChoicesOverflowTheSameWay) {
  for (const RouterSpec& router : routers()) {
    const LayerSpec spec{{16, 8}, 16, router};
    const std::vector<float> x = random_floats(90 * 16, 5);
    OverflowCase c = routed_on_one_rank(spec, x);
    c.capacity = 15;  // 270 assignments on 16 experts
    for (const OverflowPolicy policy : policies) {
      const OverflowRule rule{policy, c.capacity, true};
      const OverflowOutcome outcome = plain_overflow(c.view(), c.num_experts, rule);
      ASSERT_NE(outcome.excess, Counts(16, 0)) << "nothing overflows";
      on_every_exchange([&](Engine& engine) {
        const Share share = share_of(c.num_tokens, engine.communicator());
        MoeLayer layer = make_layer(engine, spec, bounded(options_for(c, policy, true)));
        const std::vector<float> mine = part_of(x, share, 16);
        std::vector<float> y(mine.size());
        layer.forward(mine, y);
        expect_decided(layer.routing(), outcome, share);
        expect_counts(*layer.report().overflow, outcome, policy);
      });
    }
  }
}

}  // namespace
}  // namespace moewe
