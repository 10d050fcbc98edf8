#include "runtime/router.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <numeric>
#include <random>

#include "comm/error.hpp"

namespace moewe {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
const std::vector<float> eight_logits{1.0F, -0.5F, 0.25F, 2.0F, -1.0F, 0.5F, 0.0F, 1.5F};
const std::vector<float> eight_biases{0.0F, 0.1F, 0.0F, -0.3F, 0.4F, 0.0F, 0.05F, -0.1F};

constexpr RouterSpec like_deepseek_v3(std::size_t num_groups, std::size_t kept_groups) {
  return {3, true, Score::sigmoid, true, num_groups, kept_groups, GroupScore::sum_of_two_largest, 2.5F};
}

struct Routed {
  std::vector<int> experts;
  std::vector<float> weights;
  std::vector<float> selection;

  bool operator==(const Routed&) const = default;
};

Routed route(const Router& router, const std::vector<float>& x, std::size_t hidden, std::size_t threads = 2) {
  MemoryMeter meter;
  RoutingTable table(meter);
  Workspace workspace(meter, threads);
  router.route(x, x.size() / hidden, table, workspace);
  Routed routed{{},
                {table.weights().begin(), table.weights().end()},
                {table.selection().begin(), table.selection().end()}};
  for (const ExpertId expert : table.experts()) routed.experts.push_back(number(expert));
  return routed;
}

/// Routes tokens whose logits over `num_experts` are the rows of `logits`: the router's weights are the
/// identity.
Routed route_logits(const RouterSpec& spec, const std::vector<float>& logits,
                    const std::vector<float>& bias = {}, std::size_t num_experts = 8) {
  std::vector<float> identity(num_experts * num_experts, 0.0F);
  for (std::size_t i = 0; i < num_experts; ++i) identity[i * num_experts + i] = 1.0F;
  MemoryMeter meter;
  const Router router(spec, std::make_shared<Matmul>(num_experts, num_experts), meter, identity, bias);
  return route(router, logits, num_experts);
}

void expect_near(const std::vector<float>& values, const std::vector<double>& expected, double tolerance) {
  ASSERT_EQ(values.size(), expected.size());
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(values[i], expected[i], tolerance) << i;
}

std::string refusal(const auto& act) {
  try {
    act();
  } catch (const InvalidInput& error) {
    return error.what();
  }
  return "";
}

// Derived by hand from the softmax formula for these logits.
TEST(Router, ChoosesBySoftmaxLikeMixtral) {
  const Routed raw = route_logits({.top_k = 3, .renormalise = false}, eight_logits);
  EXPECT_EQ(raw.experts, (std::vector<int>{3, 7, 0}));
  expect_near(raw.weights, {0.3790001, 0.2298752, 0.1394264}, 1e-7);

  const Routed renormalised = route_logits({.top_k = 3, .renormalise = true}, eight_logits);
  EXPECT_EQ(renormalised.experts, raw.experts);
  expect_near(renormalised.weights, {0.5064804, 0.3071959, 0.1863237}, 1e-7);
}

// Derived by hand from the formulas of the DeepSeek-V3 report.
TEST(Router, ChoosesAmongGroupsLikeDeepSeekV3) {
  const Routed grouped = route_logits(like_deepseek_v3(4, 2), eight_logits, eight_biases);
  EXPECT_EQ(grouped.experts, (std::vector<int>{7, 4, 5}));
  expect_near(grouped.weights, {1.1960011, 0.3934250, 0.9105740}, 2e-7);
  for (std::size_t e = 0; e < 8; ++e) EXPECT_EQ(grouped.selection[e] == -infinity, e < 4) << e;

  const Routed of_all = route_logits(like_deepseek_v3(1, 1), eight_logits, eight_biases);
  EXPECT_EQ(of_all.experts, (std::vector<int>{0, 7, 4}));
  expect_near(of_all.weights, {1.0055414, 1.1245405, 0.3699180}, 2e-7);
}

TEST(Router, JudgesGroupsByTheTwoBestLikeDeepSeekV3) {
  std::vector<float> selection(eight_logits);
  sigmoid(selection);
  for (std::size_t e = 0; e < 8; ++e) selection[e] += eight_biases[e];
  std::vector<float> group_scores(4);
  mask_groups(like_deepseek_v3(4, 2), selection, group_scores);
  expect_near(group_scores, {1.2085992, 1.1429736, 1.2914008, 1.2675745}, 2e-7);
}

// Derived by hand from the formulas of the DeepSeek-V2 report.
TEST(Router, ChoosesAmongGroupsLikeDeepSeekV2) {
  const RouterSpec spec{3, false, Score::softmax, false, 4, 2, GroupScore::largest, 16.0F};
  const Routed routed = route_logits(spec, eight_logits);
  EXPECT_EQ(routed.experts, (std::vector<int>{3, 7, 2}));
  expect_near(routed.weights, {6.0640020, 3.6780031, 1.0537655}, 1e-6);

  std::vector<float> selection(eight_logits);
  softmax(selection);
  std::vector<float> group_scores(4);
  mask_groups(spec, selection, group_scores);
  expect_near(group_scores, {.1394264, .3790001, .0845664, .2298752}, 1e-7);
}

// From the formulas of Kimi K2: the bias decides the choice and is not in the weights.
TEST(Router, WeighsWithoutTheBias) {
  const RouterSpec spec{2, true, Score::sigmoid, true, 1, 1, GroupScore::sum_of_two_largest, 2.827F};
  MemoryMeter meter;
  const std::vector<float> weights{4, 0, 3, 0, 2, 0, 1, 0};
  const std::vector<float> bias{-10, 0, 0, 10};
  const Router router(spec, std::make_shared<Matmul>(2, 4), meter, weights, bias);
  const Routed routed = route(router, {1, 0}, 2);
  EXPECT_EQ(routed.experts, (std::vector<int>{3, 1}));
  const double of_3 = 1 / (1 + std::exp(-1.0));
  const double of_1 = 1 / (1 + std::exp(-3.0));
  expect_near(routed.weights, {2.827 * of_3 / (of_1 + of_3), 2.827 * of_1 / (of_1 + of_3)}, 2e-7);
}

/// One token's choice in double, by sorting. `margin` is how much less the best one that was not taken is
/// worth than the worst that was, among groups or experts.
struct PlainChoice {
  std::vector<std::size_t> experts;
  std::vector<double> weights;
  std::vector<double> selection;
  double margin = std::numeric_limits<double>::infinity();
};

std::vector<double> plain_scores(Score score, std::span<const float> logits) {
  std::vector<double> scores(logits.size());
  double sum = 0;
  for (const float l : logits) sum += std::exp(static_cast<double>(l));
  for (std::size_t e = 0; e < logits.size(); ++e) {
    const double exponential = std::exp(static_cast<double>(logits[e]));
    scores[e] = score == Score::softmax ? exponential / sum : exponential / (exponential + 1);
  }
  return scores;
}

/// The numbers of the best `count`, best first.
std::vector<std::size_t> take_best(const std::vector<double>& values, std::size_t count, double& margin) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return values[a] > values[b]; });
  for (std::size_t i = 1; i <= count && i < order.size(); ++i) {
    margin = std::min(margin, values[order[i - 1]] - values[order[i]]);
  }
  order.resize(count);
  return order;
}

void plain_mask(const RouterSpec& spec, PlainChoice& choice) {
  const std::size_t size = choice.selection.size() / spec.num_groups;
  std::vector<double> groups;
  for (std::size_t g = 0; g < spec.num_groups; ++g) {
    const auto first = choice.selection.begin() + static_cast<std::ptrdiff_t>(g * size);
    std::vector<double> members(first, first + static_cast<std::ptrdiff_t>(size));
    std::sort(members.rbegin(), members.rend());
    groups.push_back(spec.group_score == GroupScore::largest ? members[0] : members[0] + members[1]);
  }
  const auto kept = take_best(groups, spec.kept_groups, choice.margin);
  for (std::size_t e = 0; e < choice.selection.size(); ++e) {
    if (std::count(kept.begin(), kept.end(), e / size) == 0) choice.selection[e] = -infinity;
  }
}

PlainChoice plain_choice(const RouterSpec& spec, std::span<const float> logits, std::span<const float> bias) {
  const std::vector<double> scores = plain_scores(spec.score, logits);
  PlainChoice choice{{}, {}, scores};
  for (std::size_t e = 0; e < bias.size(); ++e) choice.selection[e] += static_cast<double>(bias[e]);
  plain_mask(spec, choice);
  choice.experts = take_best(choice.selection, spec.top_k, choice.margin);
  double sum = 0;
  for (const std::size_t e : choice.experts) sum += scores[e];
  for (const std::size_t e : choice.experts) {
    choice.weights.push_back(scores[e] / (spec.renormalise ? sum : 1.0) * static_cast<double>(spec.scale));
  }
  return choice;
}

std::vector<float> random_values(std::size_t count, float deviation, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0F, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

/// All ways of scoring, biasing, grouping and weighing.
std::vector<RouterSpec> all_kinds_of_routers() {
  std::vector<RouterSpec> specs;
  for (const Score score : {Score::softmax, Score::sigmoid}) {
    for (const bool bias : {false, true}) {
      for (const bool renormalise : {false, true}) {
        for (const GroupScore group_score : {GroupScore::largest, GroupScore::sum_of_two_largest}) {
          for (const std::size_t groups : {1U, 4U, 8U}) {
            specs.push_back({5, renormalise, score, bias, groups, (groups + 1) / 2, group_score, 1.75F});
          }
        }
      }
    }
  }
  return specs;
}

TEST(Router, ChoosesAsASortInDoubleDoes) {
  constexpr std::size_t num_experts = 24;
  constexpr std::size_t num_tokens = 150;
  std::size_t compared = 0;
  std::size_t near_ties = 0;
  for (const RouterSpec& spec : all_kinds_of_routers()) {
    const auto seed = static_cast<unsigned>(compared);
    const std::vector<float> logits = random_values(num_tokens * num_experts, 2.0F, seed);
    const std::vector<float> all_biases = random_values(num_experts, 0.1F, seed + 1);
    const std::vector<float> bias = spec.has_selection_bias ? all_biases : std::vector<float>{};
    const Routed routed = route_logits(spec, logits, bias, num_experts);
    for (std::size_t t = 0; t < num_tokens; ++t, ++compared) {
      const PlainChoice expected =
          plain_choice(spec, std::span(logits).subspan(t * num_experts, num_experts), bias);
      if (expected.margin < 1e-6) {
        ++near_ties;
        continue;
      }
      for (std::size_t k = 0; k < spec.top_k; ++k) {
        ASSERT_EQ(static_cast<std::size_t>(routed.experts[t * spec.top_k + k]), expected.experts[k]);
        ASSERT_NEAR(routed.weights[t * spec.top_k + k], expected.weights[k], 1e-6);
      }
      for (std::size_t e = 0; e < num_experts; ++e) {
        const float value = routed.selection[t * num_experts + e];
        if (expected.selection[e] == -static_cast<double>(infinity)) {
          ASSERT_EQ(value, -infinity);
        } else {
          ASSERT_NEAR(value, expected.selection[e], 1e-6);
        }
      }
    }
  }
  EXPECT_LT(near_ties, compared / 100);
}

TEST(Router, ATokensChoiceDependsOnThatTokenAlone) {
  constexpr std::size_t hidden = 48;
  constexpr std::size_t num_experts = 32;
  constexpr std::size_t num_tokens = 150;
  const std::vector<float> x = random_values(num_tokens * hidden, 1.0F, 1);
  const std::vector<float> bias = random_values(num_experts, 0.1F, 2);
  MemoryMeter meter;
  const Router router(like_deepseek_v3(8, 4), std::make_shared<Matmul>(hidden, num_experts), meter,
                      random_values(num_experts * hidden, 0.2F, 3), bias);
  const Routed together = route(router, x, hidden, 3);
  EXPECT_EQ(route(router, x, hidden, 1), together);
  Routed one_by_one;
  for (std::size_t t = 0; t < num_tokens; ++t) {
    const auto first = x.begin() + static_cast<std::ptrdiff_t>(t * hidden);
    const Routed alone = route(router, {first, first + hidden}, hidden);
    one_by_one.experts.insert(one_by_one.experts.end(), alone.experts.begin(), alone.experts.end());
    one_by_one.weights.insert(one_by_one.weights.end(), alone.weights.begin(), alone.weights.end());
    one_by_one.selection.insert(one_by_one.selection.end(), alone.selection.begin(), alone.selection.end());
  }
  EXPECT_EQ(one_by_one, together);
}

TEST(Router, RoutesNoTokens) {
  const Routed routed = route_logits({.top_k = 3}, {});
  EXPECT_TRUE(routed.experts.empty());
  EXPECT_TRUE(routed.selection.empty());
}

TEST(Router, NamesTokenAndColumnOfAnInputThatIsNotFinite) {
  for (const float bad : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()}) {
    std::vector<float> x(100 * 8, 0.5F);
    x[70 * 8 + 5] = bad;
    const std::string message = refusal([&] { route_logits(like_deepseek_v3(4, 2), x, eight_biases); });
    EXPECT_NE(message.find("token 70 "), std::string::npos) << message;
    EXPECT_NE(message.find("column 5;"), std::string::npos) << message;
  }
}

TEST(Router, NamesTokenAndExpertOfALogitThatIsNotFinite) {
  MemoryMeter meter;
  std::vector<float> weights(8 * 2, 1.0F);
  weights[3 * 2] = 4.0F;
  const Router router({.top_k = 2}, std::make_shared<Matmul>(2, 8), meter, weights, {});
  const std::string message = refusal([&] { route(router, {1.0F, 1.0F, 2e38F, 0.0F}, 2); });
  EXPECT_NE(message.find("token 1 gives expert 3 the logit inf"), std::string::npos) << message;
}

TEST(Router, NamesTheExpertWhoseBiasIsNotFinite) {
  std::vector<float> bias = eight_biases;
  bias[6] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(refusal([&] { route_logits(like_deepseek_v3(4, 2), eight_logits, bias); }),
            "router: the selection bias of expert 6 is nan, but must be finite");
}

TEST(Router, GivesFiniteWeightsToTheLargestLogits) {
  const std::vector<float> logits{3e38F, -3e38F, 1e30F, 0.0F, -1e30F, 3e38F, -200.0F, 200.0F};
  for (RouterSpec spec : all_kinds_of_routers()) {
    if (spec.num_groups == 8) continue;
    spec.top_k = 4;
    const std::vector<float> bias(spec.has_selection_bias ? 8 : 0, -1.0F);
    for (const float weight : route_logits(spec, logits, bias).weights) EXPECT_TRUE(std::isfinite(weight));
  }
}

TEST(Router, WeighsChosenExpertsWithoutAnyScoreByZero) {
  const std::vector<float> logits{300.0F, -300.0F, -300.0F, -300.0F};
  const std::vector<float> bias{-2.0F, 0.0F, 0.0F, 1.0F};
  for (const Score score : {Score::softmax, Score::sigmoid}) {
    const RouterSpec spec{.top_k = 2, .renormalise = true, .score = score, .has_selection_bias = true};
    const Routed routed = route_logits(spec, logits, bias, 4);
    EXPECT_EQ(routed.experts, (std::vector<int>{3, 1}));
    EXPECT_EQ(routed.weights, (std::vector<float>{0.0F, 0.0F}));
  }
}

TEST(Softmax, SumsToOneAndKeepsTheOrder) {
  std::vector<float> scores(eight_logits);
  softmax(scores);
  EXPECT_NEAR(std::accumulate(scores.begin(), scores.end(), 0.0), 1.0, 1e-6);
  for (std::size_t e = 1; e < 8; ++e) {
    EXPECT_EQ(scores[e] > scores[e - 1], eight_logits[e] > eight_logits[e - 1]) << e;
  }
}

TEST(Sigmoid, IsExactAtZeroAndReachesItsLimits) {
  std::vector<float> scores{0.0F, 1000.0F, -1000.0F, 1.0F};
  sigmoid(scores);
  EXPECT_EQ(scores[0], 0.5F);
  EXPECT_EQ(scores[1], 1.0F);
  EXPECT_EQ(scores[2], 0.0F);
  EXPECT_NEAR(scores[3], 0.7310585786, 1e-7);
}

TEST(MaskGroups, KeepsTheLowerOfEqualGroups) {
  std::vector<float> selection{1, 2, 2, 1, 0, 3, 2, 1};
  std::vector<float> group_scores(4);
  mask_groups(like_deepseek_v3(4, 2), selection, group_scores);
  EXPECT_EQ(selection, (std::vector<float>{1, 2, 2, 1, -infinity, -infinity, -infinity, -infinity}));
}

TEST(MaskGroups, CountsTheSameValueTwice) {
  std::vector<float> selection{5, 5, 9, 0.5F};
  std::vector<float> group_scores(2);
  mask_groups(like_deepseek_v3(2, 1), selection, group_scores);
  EXPECT_EQ(group_scores, (std::vector<float>{10, 9.5F}));
  EXPECT_EQ(selection, (std::vector<float>{5, 5, -infinity, -infinity}));
}

TEST(MaskGroups, KeepsGroupsOfNegativeValues) {
  std::vector<float> selection{-4, -3, -2, -1};
  std::vector<float> group_scores(2);
  mask_groups(like_deepseek_v3(2, 1), selection, group_scores);
  EXPECT_EQ(selection, (std::vector<float>{-infinity, -infinity, -2, -1}));
}

TEST(ChooseTopK, TakesEqualValuesByLowerId) {
  const std::array<float, 6> selection{0.1F, 0.3F, 0.3F, 0.1F, 0.3F, 0.2F};
  std::array<ExpertId, 5> experts{};
  std::array<float, 5> values{};
  choose_top_k(selection, experts, values);
  EXPECT_EQ(experts,
            (std::array<ExpertId, 5>{ExpertId{1}, ExpertId{2}, ExpertId{4}, ExpertId{5}, ExpertId{0}}));
  EXPECT_EQ(values, (std::array<float, 5>{0.3F, 0.3F, 0.3F, 0.2F, 0.1F}));
}

TEST(ChooseTopK, PassesOverExpertsThatCannotBeSelected) {
  const std::array<float, 5> selection{-infinity, -infinity, -7.0F, -infinity, -6.0F};
  std::array<ExpertId, 2> experts{};
  std::array<float, 2> values{};
  choose_top_k(selection, experts, values);
  EXPECT_EQ(experts, (std::array<ExpertId, 2>{ExpertId{4}, ExpertId{2}}));
}

}  // namespace
}  // namespace moewe
