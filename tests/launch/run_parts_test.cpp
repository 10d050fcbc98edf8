#include <cmath>
#include <gtest/gtest.h>
#include <numeric>

#include "launch/run_result.hpp"
#include "launch/token_range.hpp"
#include "launch/token_source.hpp"

namespace moewe {
namespace {

TEST(TokensOfRank, CoverAllTokensInOrder) {
  for (const std::size_t num_tokens : {0U, 1U, 3U, 1237U}) {
    for (const std::size_t num_ranks : {1U, 3U, 8U}) {
      std::size_t next = 0;
      for (std::size_t rank = 0; rank < num_ranks; ++rank) {
        const TokenRange range = tokens_of_rank(num_tokens, num_ranks, rank_at(rank));
        EXPECT_EQ(range.first, next);
        EXPECT_LE(range.count, num_tokens / num_ranks + 1);
        next = range.end();
      }
      EXPECT_EQ(next, num_tokens);
    }
  }
}

TEST(GeneratedTokens, AreAFunctionOfSeedLayerStepAndToken) {
  const GeneratedTokens tokens(7, 100, 16);
  std::vector<float> all(100 * 16), some(10 * 16);
  tokens.read(2, 3, {0, 100}, all);
  tokens.read(2, 3, {40, 10}, some);
  EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin() + 40 * 16));
  std::vector<float> other(all.size());
  tokens.read(1, 3, {0, 100}, other);
  EXPECT_NE(other, all);
  tokens.read(2, 4, {0, 100}, other);
  EXPECT_NE(other, all);
  GeneratedTokens(8, 100, 16).read(2, 3, {0, 100}, other);
  EXPECT_NE(other, all);
}

TEST(GeneratedTokens, HaveMeanZeroAndVarianceOne) {
  std::vector<float> x(100000);
  GeneratedTokens(1, 1000, 100).read(0, 0, {0, 1000}, x);
  const double n = static_cast<double>(x.size());
  const double mean = std::accumulate(x.begin(), x.end(), 0.0) / n;
  const double square = std::inner_product(x.begin(), x.end(), x.begin(), 0.0) / n;
  // five standard errors: of the mean 1 / sqrt(n), of the square sqrt(E x^4 - 1) / sqrt(n) = sqrt(0.8 / n)
  EXPECT_NEAR(mean, 0, 5 / std::sqrt(n));
  EXPECT_NEAR(square, 1, 5 * std::sqrt(0.8 / n));
}

TEST(Percentile, IsTheSmallestValueThatCoversTheFraction) {
  EXPECT_EQ(percentile({3, 1, 2, 4}, 0.5), 2);
  EXPECT_EQ(percentile({3, 1, 2, 4}, 0.9), 4);
  EXPECT_EQ(percentile({5}, 0.01), 5);
  EXPECT_EQ(percentile({}, 0.5), 0);
}

TEST(RunResult, PassesOnlyWithNothingLostAndResultsWithinTolerance) {
  RunResult good;
  good.assigned = 10;
  good.computed_per_rank = {4, 6};
  good.reference.compared_outputs = 1;
  good.reference.num_values = 4;
  good.reference.sum_of_squares = 4;
  good.reference.max_abs_err = 1.9e-5;
  EXPECT_TRUE(good.passed());
  RunResult result = good;
  result.reference.max_abs_err = 2.1e-5;
  EXPECT_FALSE(result.passed());
  result.tolerance = bf16_tolerance;
  EXPECT_TRUE(result.passed());
  result = good;
  result.computed_per_rank = {4, 5};
  EXPECT_FALSE(result.passed());
  result = good;
  result.overflow.resize(1);
  result.overflow[0].over_capacity = {0, 1};
  result.computed_per_rank = {4, 5};
  EXPECT_TRUE(result.passed());  // dropped and accounted for
  result.computed_per_rank = {4, 6};
  EXPECT_FALSE(result.passed());
  result = good;
  result.reference.mismatched = 1;
  EXPECT_FALSE(result.passed());
  result = good;
  result.reference.not_finite = 1;
  EXPECT_FALSE(result.passed());
}

TEST(RunResult, NamesWhatFailedAndNothingElse) {
  RunResult result;
  result.assigned = 10;
  result.computed_per_rank = {4, 6};
  result.reference.num_values = 4;
  result.reference.sum_of_squares = 4;
  EXPECT_EQ(result.failures(), "");
  RunResult lost = result;
  lost.computed_per_rank = {4, 5};
  EXPECT_EQ(lost.failures(), "1 assignments are lost");
  RunResult far = result;
  far.reference.max_abs_err = 1;
  far.reference.mismatched = 2;
  EXPECT_EQ(far.failures(),
            "expert ids of 2 rows are not the recorded ones; max |error| / RMS 1.00e+00 is above 2e-05");
  RunResult infinite = result;
  infinite.reference.add_not_finite(3, 5);
  infinite.reference.add_not_finite(1, 2);
  infinite.reference.add_not_finite(0, 0);
  infinite.reference.not_finite = 7;
  EXPECT_EQ(infinite.failures(), "7 values of the results are not finite, first in layer 1");
  for (const RunResult& failed : {lost, far, infinite}) EXPECT_FALSE(failed.passed());
}

}  // namespace
}  // namespace moewe
