#include "placement/slowness_estimate.hpp"

#include <gtest/gtest.h>
#include <random>

#include "comm/error.hpp"

namespace moewe {
namespace {

using Times = std::vector<std::int64_t>;

/// How often slowness was told anew.
int windows(SlownessEstimate& estimate, int count, const Times& times) {
  int num_told = 0;
  for (int i = 0; i < count; ++i) num_told += estimate.add_window(times) ? 1 : 0;
  return num_told;
}

TEST(SlownessEstimate, IsEmptyWhereRanksAreAlike) {
  SlownessEstimate estimate(3);
  EXPECT_TRUE(estimate.slowness().empty());
  EXPECT_EQ(windows(estimate, 20, {1000, 1080, 990}), 0);
  EXPECT_TRUE(estimate.slowness().empty());
}

TEST(SlownessEstimate, FindsASlowRankOnceAndForgetsItWhenItRecovers) {
  SlownessEstimate estimate(4);
  EXPECT_EQ(windows(estimate, 10, {1000, 1000, 2000, 1020}), 1);
  EXPECT_EQ(estimate.slowness(), (Times{1'000'000, 1'000'000, 2'000'000, 1'000'000}));
  EXPECT_EQ(windows(estimate, 40, {1000, 1000, 1000, 1020}) > 0, true);
  EXPECT_TRUE(estimate.slowness().empty());
}

TEST(SlownessEstimate, DoesNotDependOnTheUnit) {
  SlownessEstimate one(2), other(2);
  windows(one, 5, {1000, 1500});
  windows(other, 5, {1'000'000'000, 1'500'000'000});
  EXPECT_EQ(one.slowness(), (Times{1'000'000, 1'500'000}));
  EXPECT_EQ(one.slowness(), other.slowness());
}

TEST(SlownessEstimate, IsNotChangedByOneWindowNorByNoise) {
  SlownessEstimate estimate(2);
  windows(estimate, 5, {1000, 1000});
  EXPECT_EQ(windows(estimate, 1, {1000, 3000}), 0);
  EXPECT_EQ(windows(estimate, 20, {1000, 1000}), 0);
  EXPECT_TRUE(estimate.slowness().empty());
  std::mt19937_64 random(1);
  int num_told = 0;
  for (int i = 0; i < 1000; ++i) {
    const auto time = [&] { return static_cast<std::int64_t>(920 + random() % 160); };
    num_told += estimate.add_window(Times{time(), time()}) ? 1 : 0;
  }
  EXPECT_EQ(num_told, 0);
}

TEST(SlownessEstimate, KeepsWhatItKnowsOfRanksThatDoTooLittle) {
  SlownessEstimate estimate(3);
  windows(estimate, 5, {1000, 1000, 2000});
  const Times before = estimate.slowness();
  EXPECT_EQ(windows(estimate, 20, {1000, 1010, 0}), 0);
  EXPECT_EQ(windows(estimate, 20, {0, 0, 5}), 0);
  EXPECT_EQ(estimate.slowness(), before);
}

TEST(SlownessEstimate, HasBounds) {
  SlownessEstimate estimate(3);
  windows(estimate, 10, {1, 1000, std::int64_t{1} << 40U});
  EXPECT_EQ(estimate.slowness(), (Times{125'000, 1'000'000, 8'000'000}));
  EXPECT_THROW(estimate.add_window(Times{1, 2}), InvalidInput);
  EXPECT_THROW(estimate.add_window(Times{1, 2, -1}), InvalidInput);
  EXPECT_THROW(estimate.add_window(Times{1, 2, (std::int64_t{1} << 40U) + 1}), InvalidInput);
}

}  // namespace
}  // namespace moewe
