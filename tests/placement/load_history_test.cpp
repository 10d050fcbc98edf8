#include "placement/load_history.hpp"

#include <cmath>
#include <gtest/gtest.h>
#include <random>
#include <utility>

#include "comm/error.hpp"
#include "placement/split.hpp"
#include "placement/wide.hpp"

namespace moewe {
namespace {

using Loads = std::vector<std::int64_t>;

Loads draw(std::mt19937& random, const std::vector<double>& weights, int count) {
  std::discrete_distribution<std::size_t> choose(weights.begin(), weights.end());
  Loads loads(weights.size(), 0);
  for (int i = 0; i < count; ++i) ++loads[choose(random)];
  return loads;
}

std::vector<double> skewed(std::mt19937& random, std::size_t num_experts) {
  std::lognormal_distribution<double> weight(0, 0.7);
  std::vector<double> weights(num_experts);
  for (double& w : weights) w = weight(random);
  return weights;
}

TEST(SquareRoot, IsExactAroundSquares) {
  std::mt19937_64 random(4);
  for (int round = 0; round < 10'000; ++round) {
    const auto root = static_cast<std::int64_t>(random() >> (2 + random() % 60));
    if (root < 2) continue;
    const Wide square = wide(root) * wide(root);
    EXPECT_EQ(square_root(square), root);
    EXPECT_EQ(square_root(square + wide(root)), root);
    EXPECT_EQ(square_root(square + 2 * wide(root)), root);
    EXPECT_EQ(square_root(square - 1), root - 1);
  }
  EXPECT_EQ(square_root(0), 0);
  EXPECT_EQ(square_root(1), 1);
  EXPECT_EQ(square_root(3), 1);
}

TEST(Drift, IsTheTotalVariationBetweenTwoTimes) {
  EXPECT_EQ(compare_loads(Loads{1, 1}, Loads{5, 5}).distance, 0);
  EXPECT_EQ(compare_loads(Loads{4, 0}, Loads{0, 7}).distance, 1'000'000'000);
  EXPECT_EQ(compare_loads(Loads{3, 1}, Loads{1, 1}).distance, 250'000'000);
}

TEST(Drift, OfSamplesOfOneDistributionIsWhatNoiseExplains) {
  std::mt19937 random(1);
  constexpr int num_rounds = 200;
  double distances = 0;
  double squares = 0;
  Drift drift;
  const std::vector<double> weights = skewed(random, 64);
  int num_significant = 0;
  for (int round = 0; round < num_rounds; ++round) {
    drift = compare_loads(draw(random, weights, 4000), draw(random, weights, 9000));
    const auto distance = static_cast<double>(drift.distance);
    distances += distance;
    squares += distance * distance;
    num_significant += drift.is_significant() ? 1 : 0;
  }
  const double mean = distances / num_rounds;
  const double deviation = std::sqrt(squares / num_rounds - mean * mean);
  EXPECT_NEAR(mean / static_cast<double>(drift.noise), 1, 0.03);
  EXPECT_NEAR(deviation / static_cast<double>(drift.spread), 1, 0.25);
  EXPECT_LE(num_significant, 1);
}

TEST(Drift, IsSignificantWhereLoadsMoved) {
  std::mt19937 random(2);
  std::vector<double> weights = skewed(random, 64);
  const Loads before = draw(random, weights, 20000);
  for (std::size_t e = 0; e < weights.size(); e += 2) std::swap(weights[e], weights[e + 1]);
  const Drift drift = compare_loads(draw(random, weights, 20000), before);
  EXPECT_TRUE(drift.is_significant());
  EXPECT_GT(drift.excess(), 3 * drift.noise);
}

TEST(Drift, HasRoomForTheLargestLoads) {
  const Drift drift =
      compare_loads(Loads{max_total_load / 2, max_total_load / 2}, Loads{1, max_total_load - 1});
  EXPECT_NEAR(static_cast<double>(drift.distance), 5e8, 2);
  EXPECT_TRUE(drift.is_significant());
  EXPECT_FALSE(compare_loads(Loads{0, 0}, Loads{1, 3}).is_significant());
  EXPECT_EQ(compare_loads(Loads{1, 0}, Loads{0, 0}).distance, 0);
}

TEST(LoadHistory, KeepsTotalsAveragesAndTheNewestWindows) {
  LoadHistory history(2, 2, {2, 1, 2, 0});
  history.add({{8, 0}, {1, 1}});
  EXPECT_EQ(history.fast()[0][0], 8 * LoadHistory::parts);
  EXPECT_EQ(history.slow()[0][0], 8 * LoadHistory::parts);
  history.add({{0, 4}, {1, 2}});
  EXPECT_EQ(history.fast(), (LoadTable{{4 * LoadHistory::parts, 2 * LoadHistory::parts},
                                       {LoadHistory::parts, LoadHistory::parts * 3 / 2}}));
  EXPECT_EQ(history.slow()[0], (Loads{6 * LoadHistory::parts, LoadHistory::parts}));
  history.add({{1, 1}, {1, 3}});
  EXPECT_EQ(history.total(), (LoadTable{{9, 5}, {3, 6}}));
  EXPECT_EQ(history.num_windows_seen(), 3U);
  ASSERT_EQ(history.windows().size(), 2U);
  EXPECT_EQ(history.windows().front(), (LoadTable{{0, 4}, {1, 2}}));
  EXPECT_EQ(history.windows().back(), (LoadTable{{1, 1}, {1, 3}}));
}

TEST(LoadHistory, TellsWhichLayerDrifts) {
  std::mt19937 random(3);
  const std::vector<double> steady = skewed(random, 32);
  std::vector<double> moving = skewed(random, 32);
  LoadHistory history(2, 32);
  history.add({draw(random, steady, 5000), draw(random, moving, 5000)});
  EXPECT_FALSE(history.drift(0).is_significant());  // there is nothing to compare with
  for (int window = 1; window < 12; ++window) {
    if (window == 9) std::swap(moving[0], moving[1]);
    if (window == 9) moving[2] *= 4;
    history.add({draw(random, steady, 5000), draw(random, moving, 5000)});
    EXPECT_FALSE(history.drift(0).is_significant());
    if (window == 9) continue;  // the newest of ten, with one other
    EXPECT_EQ(history.drift(1).is_significant(), window > 9) << window;
  }
}

TEST(LoadHistory, GoesOnFromItsState) {
  LoadHistory history(1, 2, {3, 2, 5, 0});
  for (std::int64_t i = 0; i < 5; ++i) history.add({{i * 100, 7}});
  LoadHistory other(LoadHistory::State{history.options(), history.num_windows_seen(), history.total(),
                                       history.fast(), history.slow(), history.windows(),
                                       history.by_source()});
  EXPECT_EQ(other, history);
  history.add({{1, 2}});
  EXPECT_NE(other, history);
  other.add({{1, 2}});
  EXPECT_EQ(other, history);
}

TEST(LoadHistory, CountsSourcesApart) {
  LoadHistory history(1, 2, {2, 1, 2, 2});
  history.add_by_source(std::vector<LoadTable>{{{1, 2}}, {{3, 0}}});
  history.add_by_source(std::vector<LoadTable>{{{0, 0}}, {{5, 5}}});
  EXPECT_EQ(history.by_source(), (std::vector<LoadTable>{{{1, 2}}, {{8, 5}}}));
  EXPECT_EQ(history.total(), (LoadTable{{9, 7}}));
  EXPECT_EQ(history.windows().front(), (LoadTable{{4, 2}}));
  EXPECT_THROW(history.add({{1, 1}}), InvalidInput);
  EXPECT_THROW(history.add_by_source(std::vector<LoadTable>{{{1, 1}}}), InvalidInput);
  EXPECT_THROW(LoadHistory(1, 1).add_by_source(std::vector<LoadTable>{}), InvalidInput);
}

TEST(LoadHistory, RefusesWhatCannotBeAndStaysAsItWas) {
  LoadHistory history(1, 2);
  history.add({{max_total_load - 4, 1}});
  const LoadHistory before = history;
  for (const LoadTable& bad :
       {LoadTable{}, LoadTable{{1}}, LoadTable{{1, 1}, {1, 1}}, LoadTable{{-1, 1}}, LoadTable{{2, 2}}})
    EXPECT_THROW(history.add(bad), InvalidInput);
  EXPECT_EQ(history, before);
  EXPECT_THROW(LoadHistory(0, 1), InvalidInput);
  EXPECT_THROW(LoadHistory(1, 0), InvalidInput);
  EXPECT_THROW(LoadHistory(1, 1, {1, 1, 1, 0}), InvalidInput);
  EXPECT_THROW(LoadHistory(1, 1, {2, 16, 1, 0}), InvalidInput);
  EXPECT_THROW(LoadHistory(LoadHistory::State{{}, 0, {{1}}, {{1}}, {{1}}, {{{1}}}, {}}), InvalidInput);
  EXPECT_THROW(LoadHistory(LoadHistory::State{{}, 1, {{1}}, {{-1}}, {{1}}, {{{1}}}, {}}), InvalidInput);
}

}  // namespace
}  // namespace moewe
