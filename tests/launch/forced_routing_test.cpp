#include "launch/forced_routing.hpp"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <numeric>
#include <set>

#include "comm/error.hpp"

namespace moewe {
namespace {

constexpr ForcedRoutingSpec uniform{};
constexpr ForcedRoutingSpec lognormal{Popularity::lognormal, 1.0};
constexpr ForcedRoutingSpec zipf{Popularity::zipf, 1.2};
constexpr ForcedRoutingSpec hot{Popularity::hot, 5};

struct Shape {
  std::size_t num_experts;
  std::size_t top_k;
};

struct Where {
  std::uint64_t seed = 1;
  std::size_t layer = 0;
  std::size_t step = 0;
};

std::vector<ExpertId> choices(const ForcedRoutingSpec& spec, Shape shape, Where where, TokenRange range) {
  const ForcedRouting routing(spec, where.seed, shape.num_experts, shape.top_k);
  std::vector<ExpertId> experts(range.count * shape.top_k, ExpertId{-1});
  std::vector<float> weights(experts.size());
  routing.read(where.layer, where.step, range, experts, weights);
  return experts;
}

std::vector<double> counts(const std::vector<ExpertId>& experts, std::size_t num_experts) {
  std::vector<double> counted(num_experts, 0.0);
  for (const ExpertId expert : experts) ++counted.at(index(expert));
  return counted;
}

double sum(const std::vector<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }
double largest(const std::vector<double>& values) { return *std::max_element(values.begin(), values.end()); }

/// Five standard errors of a count of n trials, each with probability p.
double five_errors(double n, double p) { return 5 * std::sqrt(n * p * (1 - p)); }

TEST(ForcedRouting, GivesEachTokenDistinctExpertsOfEqualWeight) {
  for (const ForcedRoutingSpec& spec : {uniform, lognormal, zipf, hot}) {
    for (const Shape shape : {Shape{5, 1}, Shape{5, 5}, Shape{8, 2}, Shape{256, 5}}) {
      const std::vector<ExpertId> experts = choices(spec, shape, {}, {0, 200});
      for (std::size_t t = 0; t < 200; ++t) {
        std::set<ExpertId> distinct;
        for (std::size_t k = 0; k < shape.top_k; ++k) distinct.insert(experts[t * shape.top_k + k]);
        EXPECT_EQ(distinct.size(), shape.top_k);
        EXPECT_GE(number(*distinct.begin()), 0);
        EXPECT_LT(index(*distinct.rbegin()), shape.num_experts);
      }
      std::vector<float> weights(10 * shape.top_k);
      std::vector<ExpertId> some(weights.size());
      ForcedRouting(spec, 1, shape.num_experts, shape.top_k).read(0, 0, {0, 10}, some, weights);
      EXPECT_EQ(weights, std::vector<float>(weights.size(), 1.0F / static_cast<float>(shape.top_k)));
    }
  }
}

TEST(ForcedRouting, OfATokenDoesNotDependOnWhoElseIsAskedFor) {
  for (const ForcedRoutingSpec& spec : {uniform, lognormal, zipf, hot}) {
    const std::vector<ExpertId> all = choices(spec, {16, 3}, {}, {0, 100});
    for (const TokenRange range : {TokenRange{0, 1}, {37, 0}, {37, 1}, {40, 60}, {99, 1}}) {
      const std::vector<ExpertId> some = choices(spec, {16, 3}, {}, range);
      EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin() + static_cast<int>(range.first * 3)));
    }
  }
}

TEST(ForcedRouting, DependsOnSeedLayerStepAndToken) {
  for (const ForcedRoutingSpec& spec : {uniform, lognormal, zipf, hot}) {
    const std::vector<ExpertId> all = choices(spec, {16, 3}, {7, 2, 3}, {0, 100});
    EXPECT_EQ(choices(spec, {16, 3}, {7, 2, 3}, {0, 100}), all);
    EXPECT_NE(choices(spec, {16, 3}, {8, 2, 3}, {0, 100}), all);
    EXPECT_NE(choices(spec, {16, 3}, {7, 1, 3}, {0, 100}), all);
    EXPECT_NE(choices(spec, {16, 3}, {7, 2, 4}, {0, 100}), all);
    EXPECT_NE(choices(spec, {16, 3}, {7, 2, 3}, {100, 100}), all);
    EXPECT_NE(choices(spec, {16, 3}, {7, 3, 2}, {0, 100}), all);
  }
}

TEST(ForcedRouting, HasAPopularityOfEachSeedAndLayer) {
  for (const ForcedRoutingSpec& spec : {lognormal, zipf, hot}) {
    const std::vector<double> popularity = ForcedRouting(spec, 7, 64, 3).popularity(2);
    EXPECT_NEAR(sum(popularity), 1, 1e-12);
    EXPECT_EQ(ForcedRouting(spec, 7, 64, 5).popularity(2), popularity);
    EXPECT_NE(ForcedRouting(spec, 8, 64, 3).popularity(2), popularity);
    EXPECT_NE(ForcedRouting(spec, 7, 64, 3).popularity(1), popularity);
  }
  EXPECT_EQ(ForcedRouting(uniform, 7, 64, 3).popularity(2), std::vector<double>(64, 1.0 / 64));
}

TEST(ForcedRouting, ChoosesExpertsAsOftenAsTheyArePopular) {
  constexpr std::size_t num_tokens = 20000;
  for (const ForcedRoutingSpec& spec : {uniform, lognormal, zipf, hot}) {
    const std::vector<double> popularity = ForcedRouting(spec, 1, 24, 1).popularity(4);
    const std::vector<double> counted = counts(choices(spec, {24, 1}, {1, 4, 9}, {0, num_tokens}), 24);
    for (std::size_t e = 0; e < popularity.size(); ++e) {
      SCOPED_TRACE(describe(spec) + ", expert " + std::to_string(e));
      EXPECT_NEAR(counted[e], num_tokens * popularity[e], five_errors(num_tokens, popularity[e]));
    }
  }
}

TEST(ForcedRouting, DrawsTheSecondExpertAmongThoseThatAreLeft) {
  constexpr std::size_t num_tokens = 50000;
  for (const ForcedRoutingSpec& spec : {uniform, lognormal, zipf}) {
    const std::vector<double> p = ForcedRouting(spec, 1, 5, 2).popularity(0);
    const std::vector<ExpertId> experts = choices(spec, {5, 2}, {}, {0, num_tokens});
    std::vector<double> pairs(25, 0.0);
    for (std::size_t t = 0; t < num_tokens; ++t)
      ++pairs[index(experts[2 * t]) * 5 + index(experts[2 * t + 1])];
    for (std::size_t a = 0; a < 5; ++a) {
      for (std::size_t b = 0; b < 5; ++b) {
        const double expected = a == b ? 0 : p[a] * p[b] / (1 - p[a]);
        EXPECT_NEAR(pairs[a * 5 + b], num_tokens * expected, five_errors(num_tokens, expected));
      }
    }
  }
}

TEST(ForcedRouting, OfStepsIsIndependent) {
  // How many of a token's choices are the same in the next step: a fair coin for two equal experts.
  constexpr std::size_t num_tokens = 20000;
  const std::vector<ExpertId> before = choices(uniform, {2, 1}, {1, 0, 0}, {0, num_tokens});
  const std::vector<ExpertId> after = choices(uniform, {2, 1}, {1, 0, 1}, {0, num_tokens});
  double same = 0;
  for (std::size_t t = 0; t < num_tokens; ++t) same += before[t] == after[t] ? 1 : 0;
  EXPECT_NEAR(same, num_tokens / 2.0, five_errors(num_tokens, 0.5));
}

TEST(ForcedRouting, OfHotTouchesJustThatManyExperts) {
  for (const std::size_t num_hot : {3U, 7U, 32U}) {
    const ForcedRoutingSpec spec{Popularity::hot, static_cast<double>(num_hot)};
    const std::vector<ExpertId> experts = choices(spec, {32, 3}, {}, {0, 2000});
    EXPECT_EQ(std::set<ExpertId>(experts.begin(), experts.end()).size(), num_hot);
  }
}

TEST(ForcedRouting, OfZipfFallsWithTheRank) {
  std::vector<double> popularity = ForcedRouting(zipf, 1, 100, 1).popularity(0);
  EXPECT_FALSE(std::is_sorted(popularity.begin(), popularity.end(), std::greater<>()));
  std::sort(popularity.begin(), popularity.end(), std::greater<>());
  for (std::size_t i = 0; i < popularity.size(); ++i)
    EXPECT_NEAR(popularity[i] / popularity[0], std::pow(static_cast<double>(i + 1), -1.2), 1e-12);
}

TEST(ForcedRouting, OfLognormalHasLogarithmsOfThatDeviation) {
  constexpr std::size_t num_experts = 20000;
  for (const double sigma : {0.45, 1.0, 10.0}) {
    const ForcedRoutingSpec spec{Popularity::lognormal, sigma};
    std::vector<double> z = ForcedRouting(spec, 1, num_experts, 1).popularity(0);
    for (double& value : z) value = std::log(value) / sigma;
    const double n = num_experts;
    const double mean = sum(z) / n;
    double square = 0, fourth = 0;
    for (const double value : z) {
      square += std::pow(value - mean, 2) / n;
      fourth += std::pow(value - mean, 4) / n;
    }
    EXPECT_NEAR(square, 1, 5 * std::sqrt(2 / n));   // a normal's fourth moment is 3
    EXPECT_NEAR(fourth, 3, 5 * std::sqrt(96 / n));  // and its eighth 105
  }
}

TEST(ForcedRouting, LoadsTheMostPopularExpertAsMuchAsItSays) {
  constexpr std::size_t num_experts = 64, num_tokens = 20000;
  for (const ForcedRoutingSpec& spec : {lognormal, zipf}) {
    const double expected = largest(ForcedRouting(spec, 3, num_experts, 1).popularity(0)) * num_experts;
    const std::vector<double> counted =
        counts(choices(spec, {num_experts, 1}, {3, 0, 0}, {0, num_tokens}), 64);
    const double imbalance = largest(counted) / (num_tokens / 64.0);
    EXPECT_NEAR(imbalance, expected, expected * five_errors(num_tokens, expected / 64) / num_tokens * 64);
    EXPECT_GT(imbalance, 3);
  }
}

TEST(ForcedRouting, RefusesMoreExpertsPerTokenThanThereAre) {
  EXPECT_THROW(ForcedRouting(uniform, 1, 8, 0), InvalidInput);
  EXPECT_THROW(ForcedRouting(uniform, 1, 8, 9), InvalidInput);
  EXPECT_THROW(ForcedRouting(hot, 1, 8, 6), InvalidInput);
  EXPECT_THROW(ForcedRouting(hot, 1, 4, 2), InvalidInput);
  EXPECT_NO_THROW(ForcedRouting(hot, 1, 5, 5));
  EXPECT_THROW(ForcedRouting({Popularity::hot, 2.5}, 1, 8, 2), InvalidInput);
  EXPECT_THROW(ForcedRouting({Popularity::zipf, 0}, 1, 8, 2), InvalidInput);
  EXPECT_THROW(ForcedRouting({Popularity::lognormal, std::nan("")}, 1, 8, 2), InvalidInput);
}

TEST(ParseForcedRouting, ReadsWhatItDescribes) {
  for (const char* text : {"uniform", "lognormal:0.45", "lognormal:10", "zipf:1.2", "zipf:1e-05", "hot:4"})
    EXPECT_EQ(describe(parse_forced_routing(text)), text);
  EXPECT_EQ(parse_forced_routing("lognormal:0.45"), (ForcedRoutingSpec{Popularity::lognormal, 0.45}));
  EXPECT_EQ(parse_forced_routing("zipf:1"), (ForcedRoutingSpec{Popularity::zipf, 1}));
  EXPECT_EQ(parse_forced_routing("hot:4"), (ForcedRoutingSpec{Popularity::hot, 4}));
}

TEST(ParseForcedRouting, RefusesEverythingElse) {
  for (const char* text : {"",
                           "Uniform",
                           "uniform:",
                           "uniform:1",
                           "router",
                           "lognormal",
                           "lognormal:",
                           "lognormal:0",
                           "lognormal:-1",
                           "lognormal:10.01",
                           "lognormal:nan",
                           "lognormal:inf",
                           "lognormal:1x",
                           "lognormal: 1",
                           "zipf",
                           "zipf:0",
                           "zipf:1:2",
                           "zipf:1e99",
                           "zipf:1e999",
                           "hot",
                           "hot:",
                           "hot:0",
                           "hot:-1",
                           "hot:1.5",
                           "hot:4294967297",
                           ":1"})
    EXPECT_THROW(parse_forced_routing(text), InvalidInput) << text;
}

}  // namespace
}  // namespace moewe
