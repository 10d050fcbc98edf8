#include "tests/support/overflow_oracle.hpp"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <numeric>

#include "comm/error.hpp"

namespace moewe::test {
namespace {

using Counts = std::vector<std::int64_t>;

constexpr float never = -std::numeric_limits<float>::infinity();
constexpr OverflowPolicy all_policies[] = {OverflowPolicy::drop_last, OverflowPolicy::drop_lowest_weight,
                                           OverflowPolicy::next_choice, OverflowPolicy::error};
constexpr std::uint64_t num_cases = 400;

std::vector<ExpertId> ids(const std::vector<int>& numbers) {
  std::vector<ExpertId> experts(numbers.size());
  std::transform(numbers.begin(), numbers.end(), experts.begin(), [](int n) { return ExpertId{n}; });
  return experts;
}

/// A routing written down by hand: what each token chose and all experts' selection values.
struct Sample {
  std::size_t top_k;
  std::size_t num_experts;
  std::vector<ExpertId> experts;
  std::vector<float> weights;
  std::vector<float> selection;

  OverflowOutcome run(const OverflowRule& rule) const {
    return plain_overflow({experts.size() / top_k, top_k, experts, weights, selection}, num_experts, rule);
  }
};

TEST(DropLast, KeepsTheFirstTokens) {
  const Sample sample{1, 2, ids({0, 0, 1, 0}), {0.1F, 0.2F, 0.3F, 0.4F}, {}};
  const OverflowOutcome outcome = sample.run({OverflowPolicy::drop_last, 2, false});
  EXPECT_EQ(outcome.experts, ids({0, 0, 1, -1}));
  EXPECT_EQ(outcome.weights, (std::vector<float>{0.1F, 0.2F, 0.3F, 0.0F}));
  EXPECT_EQ(outcome.kept, (Counts{2, 1}));
  EXPECT_EQ(outcome.dropped, (Counts{1, 0}));
  EXPECT_EQ(outcome.excess, (Counts{1, 0}));
}

TEST(DropLast, PrefersAnEarlierTokensSecondChoiceToALaterOnesFirst) {
  const Sample sample{2, 3, ids({0, 1, 1, 2}), {0.75F, 0.25F, 0.75F, 0.25F}, {}};
  EXPECT_EQ(sample.run({OverflowPolicy::drop_last, 1, false}).experts, ids({0, 1, -1, 2}));
}

TEST(DropLowestWeight, KeepsTheLargestAndOfEqualOnesTheFirst) {
  const Sample sample{1, 1, ids({0, 0, 0, 0, 0}), {0.5F, 0.25F, 0.5F, 0.5F, 0.75F}, {}};
  const OverflowOutcome outcome = sample.run({OverflowPolicy::drop_lowest_weight, 3, false});
  EXPECT_EQ(outcome.experts, ids({0, -1, 0, -1, 0}));
  EXPECT_EQ(outcome.dropped, (Counts{2}));
}

TEST(NextChoice, GoesToTheBestExpertWithRoomAndWeighsItByTheRatio) {
  const Sample sample{
      1, 3, ids({0, 0, 0}), {1.0F, 1.0F, 0.5F}, {0.9F, 0.5F, 0.1F, 0.9F, 0.3F, 0.6F, 0.8F, 0.4F, 0.5F}};
  const OverflowOutcome outcome = sample.run({OverflowPolicy::next_choice, 1, false});
  EXPECT_EQ(outcome.experts, ids({0, 2, 1}));  // the third one's second choice is full after a round
  EXPECT_EQ(outcome.weights, (std::vector<float>{1.0F, 0.6F / 0.9F, 0.5F * (0.4F / 0.8F)}));
  EXPECT_EQ(outcome.kept, (Counts{1, 0, 0}));
  EXPECT_EQ(outcome.rerouted_from, (Counts{2, 0, 0}));
  EXPECT_EQ(outcome.rerouted_to, (Counts{0, 1, 1}));
  EXPECT_EQ(outcome.dropped, (Counts{0, 0, 0}));
}

TEST(NextChoice, NeverMovesWhoWasAcceptedInAnEarlierRound) {
  // Tokens 1 and 2 bid for expert 1, token 3 for expert 2, all in one round. Token 2 comes too late for
  // expert 2, although it is before token 3.
  const Sample sample{1, 3, ids({0, 0, 0, 0}), {1, 1, 1, 1}, {3, 2, 1, 3, 2, 1, 3, 2, 1, 3, 1, 2}};
  const OverflowOutcome outcome = sample.run({OverflowPolicy::next_choice, 1, false});
  EXPECT_EQ(outcome.experts, ids({0, 1, -1, 2}));
  EXPECT_EQ(outcome.dropped, (Counts{1, 0, 0}));
  EXPECT_EQ(outcome.rerouted_from, (Counts{2, 0, 0}));
}

TEST(NextChoice, GivesOneTokensAssignmentsDifferentExperts) {
  const Sample sample{2, 4, ids({0, 1, 0, 1}), {0.5F, 0.5F, 0.5F, 0.5F}, {4, 3, 2, 1, 4, 3, 1, 2}};
  EXPECT_EQ(sample.run({OverflowPolicy::next_choice, 1, false}).experts, ids({0, 1, 3, 2}));
  const Sample tight{2, 3, ids({0, 1, 0, 1, 0, 1}), {1, 1, 1, 1, 1, 1}, {3, 2, 1, 3, 2, 1, 3, 2, 1}};
  EXPECT_EQ(tight.run({OverflowPolicy::next_choice, 2, false}).experts, ids({0, 1, 0, 1, 2, -1}));
}

TEST(NextChoice, NeverReturnsToAnExpertThatTheTokenChose) {
  // Expert 1 has room for one more, but it is the last token's own second choice.
  const Sample sample{2, 3, ids({0, 2, 0, 2, 0, 1}), {1, 1, 1, 1, 1, 1}, {3, 1, 2, 3, 1, 2, 3, 2, 1}};
  EXPECT_EQ(sample.run({OverflowPolicy::next_choice, 2, false}).experts, ids({0, 2, 0, 2, -1, 1}));
}

TEST(NextChoice, TakesTheLowerOfEqualsAndNoneThatCannotBeSelected) {
  const Sample ties{1, 4, ids({0, 0}), {1, 1}, {4, 2, 2, 2, 4, never, 2, 2}};
  EXPECT_EQ(ties.run({OverflowPolicy::next_choice, 1, false}).experts, ids({0, 2}));
  const Sample none{1, 3, ids({0, 0}), {1, 1}, {4, 2, 2, 4, never, never}};
  EXPECT_EQ(none.run({OverflowPolicy::next_choice, 1, false}).experts, ids({0, -1}));
}

TEST(NextChoice, LeavesTheWeightWhereARatioMeansNothing) {
  for (const auto& [chosen, next] :
       {std::pair{1.0F, 0.0F}, {-1.0F, 2.0F}, {0.0F, 2.0F}, {1.0F, -1.0F}, {0.0F, -1.0F}, {-1.0F, -2.0F}}) {
    const Sample sample{1, 2, ids({0, 0}), {0.5F, 0.5F}, {chosen, next, chosen, next}};
    const OverflowOutcome outcome = sample.run({OverflowPolicy::next_choice, 1, false});
    EXPECT_EQ(outcome.experts, ids({0, 1}));
    EXPECT_EQ(outcome.weights, (std::vector<float>{0.5F, 0.5F}));
  }
}

TEST(NextChoice, NeedsToKnowTheSelection) {
  const Sample sample{1, 2, ids({0, 0}), {1, 1}, {}};
  EXPECT_THROW(sample.run({OverflowPolicy::next_choice, 1, false}), InvalidInput);
}

TEST(Renormalise, GivesAChangedTokenTheSumThatItHad) {
  const Sample sample{3, 4, ids({0, 1, 2, 0, 1, 3}), {0.5F, 0.25F, 0.125F, 0.5F, 0.25F, 0.25F}, {}};
  EXPECT_EQ(sample.run({OverflowPolicy::drop_last, 1, true}).weights,
            (std::vector<float>{0.5F, 0.25F, 0.125F, 0.0F, 0.0F, 1.0F}));
  const Sample rerouted{1, 2, ids({0, 0}), {0.75F, 0.75F}, {0.5F, 0.25F, 0.5F, 0.25F}};
  EXPECT_EQ(rerouted.run({OverflowPolicy::next_choice, 1, false}).weights[1], 0.375F);
  EXPECT_EQ(rerouted.run({OverflowPolicy::next_choice, 1, true}).weights[1], 0.75F);
}

TEST(Renormalise, LeavesATokenWithoutWeightAlone) {
  const Sample sample{2, 3, ids({0, 1, 0, 2}), {0.5F, 0.5F, 1.0F, 0.0F}, {}};
  EXPECT_EQ(sample.run({OverflowPolicy::drop_last, 1, true}).weights,
            (std::vector<float>{0.5F, 0.5F, 0.0F, 0.0F}));
}

TEST(OverflowError, ReportsTheExpertsAndChangesNothing) {
  const Sample sample{1, 3, ids({0, 2, 0, 2, 2}), {1, 2, 3, 4, 5}, {}};
  const OverflowOutcome outcome = sample.run({OverflowPolicy::error, 1, true});
  EXPECT_TRUE(outcome.is_error);
  EXPECT_EQ(outcome.excess, (Counts{1, 0, 2}));
  EXPECT_EQ(outcome.experts, sample.experts);
  EXPECT_EQ(outcome.weights, sample.weights);
  EXPECT_FALSE(sample.run({OverflowPolicy::error, 3, true}).is_error);
}

std::int64_t total(const Counts& counts) {
  return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}

/// Calls visit(case, rule, outcome) for random cases.
template <typename Visit>
void for_each_outcome(OverflowPolicy policy, bool renormalise, Visit&& visit) {
  for (std::uint64_t seed = 0; seed < num_cases; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const OverflowCase c = random_overflow_case(seed);
    const OverflowRule rule{policy, c.capacity, renormalise};
    visit(c, rule, plain_overflow(c.view(), c.num_experts, rule));
  }
}

Counts loads(const std::vector<ExpertId>& experts, std::size_t num_experts) {
  Counts counted(num_experts, 0);
  for (const ExpertId expert : experts) {
    if (expert != no_expert) ++counted.at(index(expert));
  }
  return counted;
}

TEST(Overflow, FillsNoExpertAboveItsCapacityAndAccountsForEveryAssignment) {
  for (const OverflowPolicy policy : all_policies) {
    if (policy == OverflowPolicy::error) continue;
    for_each_outcome(policy, false, [](const auto& c, const auto& rule, const OverflowOutcome& outcome) {
      const Counts chosen = loads(c.experts, c.num_experts);
      const Counts computed = loads(outcome.experts, c.num_experts);
      const auto capacity = static_cast<std::int64_t>(rule.capacity);
      for (std::size_t e = 0; e < c.num_experts; ++e) {
        EXPECT_LE(computed[e], capacity);
        EXPECT_EQ(outcome.kept[e], std::min(chosen[e], capacity));
        EXPECT_EQ(outcome.excess[e], chosen[e] - outcome.kept[e]);
        EXPECT_EQ(outcome.excess[e], outcome.dropped[e] + outcome.rerouted_from[e]);
        EXPECT_EQ(computed[e], outcome.kept[e] + outcome.rerouted_to[e]);
      }
      EXPECT_EQ(total(outcome.rerouted_from), total(outcome.rerouted_to));
    });
  }
}

TEST(Overflow, WithRoomForAllChangesNothing) {
  for (const OverflowPolicy policy : all_policies) {
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
      const OverflowCase c = random_overflow_case(seed);
      const OverflowOutcome outcome = plain_overflow(c.view(), c.num_experts, {policy, c.num_tokens, true});
      EXPECT_EQ(outcome.experts, c.experts);
      EXPECT_EQ(outcome.weights, c.weights);
      EXPECT_FALSE(outcome.is_error);
    }
  }
}

TEST(Overflow, KeepsAnAssignmentOnlyIfItIsAheadOfAllThatLeave) {
  for (const OverflowPolicy policy : {OverflowPolicy::drop_last, OverflowPolicy::drop_lowest_weight}) {
    const bool by_weight = policy == OverflowPolicy::drop_lowest_weight;
    for_each_outcome(policy, false, [&](const auto& c, const auto&, const OverflowOutcome& outcome) {
      for (std::size_t leaving = 0; leaving < c.experts.size(); ++leaving) {
        if (outcome.experts[leaving] != no_expert) continue;
        EXPECT_EQ(outcome.weights[leaving], 0);
        for (std::size_t other = 0; other < c.experts.size(); ++other) {
          if (outcome.experts[other] != c.experts[leaving]) continue;
          const float ahead = by_weight ? c.weights[other] - c.weights[leaving] : 0;
          EXPECT_TRUE(ahead > 0 || (ahead == 0 && other < leaving));
        }
      }
    });
  }
}

/// Whether an assignment that left its expert could have gone to `expert` when all is over.
bool could_take(const OverflowCase& c, const OverflowOutcome& outcome, std::size_t i, std::size_t expert) {
  const std::size_t token = i / c.top_k;
  bool is_free = std::isfinite(c.selection[token * c.num_experts + expert]);
  for (std::size_t j = token * c.top_k; j < (token + 1) * c.top_k; ++j)
    is_free = is_free && c.experts[j] != expert_at(expert) && outcome.experts[j] != expert_at(expert);
  const std::int64_t load = outcome.kept[expert] + outcome.rerouted_to[expert];
  return is_free && load < static_cast<std::int64_t>(c.capacity);
}

TEST(NextChoice, DropsOnlyIfEveryEligibleExpertIsFull) {
  std::int64_t num_dropped = 0;
  for_each_outcome(OverflowPolicy::next_choice, false, [&](const auto& c, const auto&, const auto& outcome) {
    num_dropped += total(outcome.dropped);
    for (std::size_t i = 0; i < c.experts.size(); ++i) {
      for (std::size_t e = 0; e < c.num_experts && outcome.experts[i] == no_expert; ++e)
        EXPECT_FALSE(could_take(c, outcome, i, e));
    }
  });
  EXPECT_GT(num_dropped, 1000);
}

TEST(NextChoice, ReroutesToNoExpertThatIsWorseThanOneWithRoom) {
  std::int64_t num_rerouted = 0;
  for_each_outcome(OverflowPolicy::next_choice, false, [&](const auto& c, const auto&, const auto& outcome) {
    num_rerouted += total(outcome.rerouted_to);
    for (std::size_t i = 0; i < c.experts.size(); ++i) {
      const ExpertId placed = outcome.experts[i];
      if (placed == no_expert || placed == c.experts[i]) continue;
      const float* selection = c.selection.data() + i / c.top_k * c.num_experts;
      EXPECT_TRUE(std::isfinite(selection[index(placed)]));
      for (std::size_t e = 0; e < c.num_experts; ++e) {
        const float better = selection[e] - selection[index(placed)];
        const bool is_better = better > 0 || (better == 0 && e < index(placed));
        EXPECT_FALSE(is_better && could_take(c, outcome, i, e));
      }
    }
  });
  EXPECT_GT(num_rerouted, 1000);
}

TEST(NextChoice, SendsATokenToNoExpertTwice) {
  for_each_outcome(OverflowPolicy::next_choice, false, [&](const auto& c, const auto&, const auto& outcome) {
    for (std::size_t i = 0; i < c.experts.size(); ++i) {
      for (std::size_t j = i / c.top_k * c.top_k; j < i; ++j) {
        EXPECT_NE(c.experts[i], c.experts[j]);
        EXPECT_TRUE(outcome.experts[i] == no_expert || outcome.experts[i] != outcome.experts[j]);
        EXPECT_TRUE(outcome.experts[i] == c.experts[i] || outcome.experts[i] != c.experts[j]);
      }
    }
  });
}

TEST(Renormalise, KeepsTheSumOfATokensWeights) {
  for (const OverflowPolicy policy : {OverflowPolicy::drop_last, OverflowPolicy::next_choice}) {
    for_each_outcome(policy, true, [](const auto& c, const auto& rule, const OverflowOutcome& outcome) {
      const OverflowOutcome plain =
          plain_overflow(c.view(), c.num_experts, {rule.policy, rule.capacity, false});
      EXPECT_EQ(outcome.experts, plain.experts);
      for (std::size_t token = 0; token < c.num_tokens; ++token) {
        const auto sum = [&](const std::vector<float>& weights) {
          const auto first = weights.begin() + static_cast<std::ptrdiff_t>(token * c.top_k);
          return std::accumulate(first, first + static_cast<std::ptrdiff_t>(c.top_k), 0.0F);
        };
        const float expected = sum(plain.weights) > 0 ? sum(c.weights) : 0;
        EXPECT_NEAR(sum(outcome.weights), expected, 1e-5F * expected);
      }
    });
  }
}

TEST(RandomOverflowCase, IsAChoiceOfTheBestExperts) {
  bool any_empty = false, any_excluded = false, any_single = false, any_large = false;
  for (std::uint64_t seed = 0; seed < num_cases; ++seed) {
    const OverflowCase c = random_overflow_case(seed);
    any_empty = any_empty || c.num_tokens == 0;
    any_single = any_single || c.num_experts == 1;
    any_large = any_large || (c.num_tokens > 200 && c.num_experts > 20 && c.top_k > 5);
    ASSERT_GE(c.capacity, 1U);
    ASSERT_EQ(c.experts.size(), c.num_tokens * c.top_k);
    ASSERT_EQ(c.weights.size(), c.num_tokens * c.top_k);
    ASSERT_EQ(c.selection.size(), c.num_tokens * c.num_experts);
    for (const float value : c.selection) any_excluded = any_excluded || value == never;
    for (std::size_t i = 0; i < c.experts.size(); ++i) {
      const float* selection = c.selection.data() + i / c.top_k * c.num_experts;
      const auto better = [&](std::size_t a, std::size_t b) {
        return selection[a] > selection[b] || (selection[a] == selection[b] && a < b);
      };
      EXPECT_TRUE(std::isfinite(selection[index(c.experts[i])]));
      std::size_t num_better = 0;
      for (std::size_t e = 0; e < c.num_experts; ++e) num_better += better(e, index(c.experts[i])) ? 1U : 0U;
      EXPECT_EQ(num_better, i % c.top_k);
    }
  }
  EXPECT_TRUE(any_empty && any_excluded && any_single && any_large);
}

TEST(RandomOverflowCase, DependsOnTheSeedAlone) {
  EXPECT_EQ(random_overflow_case(5).experts, random_overflow_case(5).experts);
  EXPECT_NE(random_overflow_case(5).selection, random_overflow_case(6).selection);
}

}  // namespace
}  // namespace moewe::test
