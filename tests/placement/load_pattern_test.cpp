#include "placement/load_pattern.hpp"

#include <gtest/gtest.h>
#include <numeric>

#include "comm/error.hpp"
#include "placement/split.hpp"
#include "tests/placement/drawn_loads.hpp"

namespace moewe {
namespace {

using test::DrawnLoads;
using Loads = std::vector<std::int64_t>;

constexpr std::size_t num_experts = 32;

TEST(LoadPattern, SumsUpWhatItRemembers) {
  LoadPattern pattern(2, {2, 4, 30'000'000});
  for (int step = 1; step <= 6; ++step) {
    EXPECT_FALSE(pattern.add(Loads{100, 300}));
    EXPECT_EQ(pattern.num_steps(), step);
    EXPECT_EQ(pattern.loads(), (Loads{100 * step, 300 * step}));
  }
  EXPECT_EQ(pattern.recent_loads(), (Loads{200, 600}));
  pattern.add(Loads{100, 300});  // the older five become two
  EXPECT_EQ(pattern.num_steps(), 4);
  EXPECT_EQ(pattern.loads(), (Loads{200 + 250, 600 + 750}));
  EXPECT_EQ(pattern.age(), 7U);
  EXPECT_EQ(pattern.expected_life(), 7U);
}

TEST(LoadPattern, LastsWhileOnlyChanceSpeaks) {
  for (std::uint32_t seed = 0; seed < 5; ++seed) {
    for (const std::int64_t count : {20, 500}) {
      DrawnLoads loads(num_experts, 0.8, seed);
      LoadPattern pattern(num_experts);
      for (int step = 0; step < 1000; ++step) EXPECT_FALSE(pattern.add(loads.draw(count))) << seed;
      EXPECT_EQ(pattern.expected_life(), 1000U);
    }
  }
}

TEST(LoadPattern, EndsWithinTheRecentStepsOfAChangeAndBeginsWithTheNewestStep) {
  for (std::uint32_t seed = 0; seed < 20; ++seed) {
    DrawnLoads loads(num_experts, 0.8, seed);
    LoadPattern pattern(num_experts);
    for (int step = 0; step < 100; ++step) pattern.add(loads.draw(2000));
    loads.change(0.85);
    int steps = 1;
    Loads counts = loads.draw(2000);
    while (!pattern.add(counts) && steps < 20) {
      counts = loads.draw(2000);
      ++steps;
    }
    EXPECT_LE(steps, 8) << seed;
    EXPECT_EQ(pattern.num_changes(), 1U);
    EXPECT_EQ(pattern.loads(), counts);
    EXPECT_EQ(pattern.num_steps(), 1);
    EXPECT_GE(pattern.expected_life(), 100U);
  }
}

TEST(LoadPattern, ExpectsShortLivesAfterShortLivesUntilOneLasts) {
  LoadPattern pattern(2);
  const auto run = [&](Loads counts, int steps) {
    for (int step = 0; step < steps; ++step) pattern.add(counts);
  };
  run({1000, 0}, 500);
  run({0, 1000}, 20);
  EXPECT_GE(pattern.expected_life(), 500U);
  run({1000, 0}, 20);
  EXPECT_LE(pattern.expected_life(), 21U);
  EXPECT_EQ(pattern.num_changes(), 2U);
  run({1000, 0}, 100);
  EXPECT_GE(pattern.expected_life(), 100U);
}

TEST(LoadPattern, RefusesWhatCannotBeAndStaysAsItWas) {
  LoadPattern pattern(2);
  pattern.add(Loads{1, 2});
  for (const Loads& bad : {Loads{}, Loads{1}, Loads{1, -1}, Loads{max_total_load / 2, 0}})
    EXPECT_THROW(pattern.add(bad), InvalidInput);
  EXPECT_EQ(pattern.loads(), (Loads{1, 2}));
  EXPECT_EQ(pattern.age(), 1U);
  EXPECT_THROW(LoadPattern(0), InvalidInput);
  EXPECT_THROW(LoadPattern(1, {0, 4, 0}), InvalidInput);
  EXPECT_THROW(LoadPattern(1, {5, 4, 0}), InvalidInput);
  EXPECT_THROW(LoadPattern(1, {4, 4, -1}), InvalidInput);
}

}  // namespace
}  // namespace moewe
