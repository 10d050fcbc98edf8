#include "placement/load_alarms.hpp"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <numeric>

#include "comm/error.hpp"
#include "placement/split.hpp"
#include "tests/placement/drawn_loads.hpp"
#include "tests/placement/random_cases.hpp"

namespace moewe {
namespace {

using test::DrawnLoads;
using Counts = std::vector<std::int64_t>;

/// Of one kind.
std::vector<LoadAlarm> alarms(const LoadHealth& health, LoadAlarmKind kind) {
  std::vector<LoadAlarm> found;
  for (const LoadAlarm& alarm : health.alarms) {
    if (alarm.kind == kind) found.push_back(alarm);
  }
  return found;
}

bool has(const LoadHealth& health, LoadAlarmKind kind) { return !alarms(health, kind).empty(); }

/// As libm has it, with the correction.
double entropy_of(const Counts& loads) {
  const auto total = static_cast<double>(std::accumulate(loads.begin(), loads.end(), std::int64_t{0}));
  double entropy = 0;
  int used = 0;
  for (const std::int64_t load : loads) {
    if (load == 0) continue;
    entropy -= static_cast<double>(load) / total * std::log(static_cast<double>(load) / total);
    ++used;
  }
  const double most = std::log(static_cast<double>(loads.size()));
  return std::min(1.0, (entropy + (used - 1) / (2 * total)) / most);
}

TEST(LoadAlarms, TellValuesOfAnyCounts) {
  test::RandomCases cases(1);
  for (int round = 0; round < 1000; ++round) {
    const Counts loads = cases.loads(cases.number(2, 40), round % 2 == 0 ? 30 : 3'000'000);
    const std::int64_t total = std::accumulate(loads.begin(), loads.end(), std::int64_t{0});
    const LoadHealth health = examine_loads(loads, 1);
    const auto unused = static_cast<std::size_t>(std::count(loads.begin(), loads.end(), 0));
    EXPECT_EQ(health.num_assignments, total);
    EXPECT_EQ(health.num_used, loads.size() - unused);
    if (total == 0) continue;
    EXPECT_NEAR(static_cast<double>(health.entropy) / 1e6, entropy_of(loads), 1e-5);
    EXPECT_NEAR(static_cast<double>(health.utilisation),
                1e6 * static_cast<double>(health.num_used) / static_cast<double>(loads.size()), 1);
  }
}

TEST(LoadAlarms, AreNotRaisedByUsualLoadsNorByChance) {
  for (const double sigma : {0.0, 0.5, 1.0}) {
    for (std::uint32_t seed = 0; seed < 10; ++seed) {
      DrawnLoads loads(64, sigma, seed);
      for (const std::int64_t count : {1, 7, 100, 2000, 100'000}) {
        Counts counts;
        for (int source = 0; source < 4; ++source) {
          const Counts more = loads.draw(count);
          counts.insert(counts.end(), more.begin(), more.end());
        }
        const LoadHealth health = examine_loads(counts, 4);
        for (const LoadAlarm& alarm : health.alarms) ADD_FAILURE() << count << ": " << alarm.sentence;
      }
    }
  }
}

TEST(LoadAlarms, AreRaisedBelowTheUtilisationThatIsAsked) {
  Counts counts(10, 0);
  std::fill_n(counts.begin(), 5, 1000);
  EXPECT_FALSE(has(examine_loads(counts, 1), LoadAlarmKind::utilisation));
  counts[4] = 0;
  const LoadHealth health = examine_loads(counts, 1);
  ASSERT_TRUE(has(health, LoadAlarmKind::utilisation));
  EXPECT_EQ(health.alarms[0].sentence, "4 of 10 experts are used, fewer than 50.0 %");
  EXPECT_EQ(health.alarms[0].value, 400'000);
}

TEST(LoadAlarms, WaitForEnoughCountsToJudgeUtilisationAndEntropy) {
  for (const std::int64_t count : {159, 160}) {  // 10 experts, 16 each
    Counts counts(10, 0);
    counts[3] = count;
    const LoadHealth health = examine_loads(counts, 1);
    EXPECT_EQ(has(health, LoadAlarmKind::utilisation), count == 160);
    EXPECT_EQ(has(health, LoadAlarmKind::entropy), count == 160);
    EXPECT_EQ(health.entropy, 0);
  }
}

TEST(LoadAlarms, AreRaisedBelowTheEntropyThatIsAsked) {
  // Experts share 2^-h of the load in equal parts: an entropy that is known exactly.
  AlarmOptions options;
  Counts counts(16, 0);
  std::fill_n(counts.begin(), 8, 100'000);
  options.least_entropy = 749'000;  // 3 bits of 4
  EXPECT_FALSE(has(examine_loads(counts, 1, options), LoadAlarmKind::entropy));
  options.least_entropy = 751'000;
  const LoadHealth health = examine_loads(counts, 1, options);
  ASSERT_TRUE(has(health, LoadAlarmKind::entropy));
  EXPECT_NEAR(static_cast<double>(health.entropy), 750'000, 10);
  EXPECT_EQ(alarms(health, LoadAlarmKind::entropy)[0].sentence,
            "the entropy of the loads is 0.750 of that of equal ones, below 0.751");
}

TEST(LoadAlarms, DoNotTakeAnEntropyNearTheThresholdForOneBelow) {
  AlarmOptions options;
  DrawnLoads loads(32, 1.0, 5);
  options.least_entropy = examine_loads(loads.draw(100'000'000), 1).entropy;
  int raised = 0;
  int judged_below = 0;
  for (int round = 0; round < 300; ++round) {
    const LoadHealth health = examine_loads(loads.draw(600), 1, options);
    judged_below += health.entropy < options.least_entropy ? 1 : 0;
    raised += has(health, LoadAlarmKind::entropy) ? 1 : 0;
  }
  EXPECT_GT(judged_below, 60);
  EXPECT_LE(raised, 1);
}

TEST(LoadAlarms, NameExpertsThatAreHardlyUsed) {
  // 16 experts with a mean of 10'000: 1 % are 100, of which 3 standard deviations are 30.
  for (const std::int64_t load : {70, 71, 100, 400}) {
    Counts counts(16, 10'000);
    counts[5] = load;
    counts[6] = 20'000 - load;
    const LoadHealth health = examine_loads(counts, 1);
    EXPECT_EQ(has(health, LoadAlarmKind::cold), load == 70) << load;
    EXPECT_EQ(health.num_cold, load == 70 ? 1U : 0U);
    if (load != 70) continue;
    EXPECT_EQ(health.alarms[0].expert, 5U);
    EXPECT_EQ(health.alarms[0].sentence,
              "1 of 16 experts have less than 1.0 % of the mean load; expert 5 has 0.70 %");
  }
  Counts few(16, 100);  // an expert with 1 % of the mean would have 1
  few[3] = 0;
  EXPECT_FALSE(has(examine_loads(few, 1), LoadAlarmKind::cold));
}

/// Two sources of 10'000 assignments each to 10 experts; of expert 0 the first brings `from_first`.
Counts two_sources(std::int64_t from_first, std::int64_t from_second) {
  Counts counts(20, 0);
  counts[0] = from_first;
  counts[10] = from_second;
  for (std::size_t e = 1; e < 10; ++e) {
    counts[e] = (10'000 - from_first) / 9;
    counts[10 + e] = (10'000 - from_second) / 9;
  }
  return counts;
}

TEST(LoadAlarms, NameASourceThatSaturatesAnExpert) {
  // Mean 2000; overloaded above 8000 and some; half of all would be usual, so 75 % is the threshold.
  const LoadHealth health = examine_loads(two_sources(9'100, 1'000), 2);
  ASSERT_EQ(alarms(health, LoadAlarmKind::source).size(), 1U);
  const LoadAlarm alarm = alarms(health, LoadAlarmKind::source)[0];
  EXPECT_EQ(alarm.source, 0U);
  EXPECT_EQ(alarm.expert, 0U);
  EXPECT_NEAR(static_cast<double>(alarm.threshold), 750'000, 200);
  EXPECT_EQ(
      alarm.sentence,
      "source 0 brings 90.1 % of the assignments of expert 0, which has 5.05 times the mean load, but 50.0 "
      "% of all");
  // Overloaded, but by both alike; and by one, but not overloaded.
  EXPECT_FALSE(has(examine_loads(two_sources(5'100, 5'000), 2), LoadAlarmKind::source));
  EXPECT_FALSE(has(examine_loads(two_sources(7'000, 0), 2), LoadAlarmKind::source));
}

TEST(LoadAlarms, NameASourceFromItsThresholdsOn) {
  // Of 10'000 the threshold is 7'500 and four standard deviations 173.
  EXPECT_FALSE(has(examine_loads(two_sources(7'650, 2'350), 2), LoadAlarmKind::source));
  EXPECT_TRUE(has(examine_loads(two_sources(7'690, 2'310), 2), LoadAlarmKind::source));
  // Of the mean 2'000 four times are 8'000, and four standard deviations 366.
  EXPECT_FALSE(has(examine_loads(two_sources(8'340, 0), 2), LoadAlarmKind::source));
  EXPECT_TRUE(has(examine_loads(two_sources(8'390, 0), 2), LoadAlarmKind::source));
  // A source with all tokens brings all of every expert.
  Counts alone = two_sources(9'100, 1'000);
  std::fill(alone.begin() + 10, alone.end(), 0);
  EXPECT_FALSE(has(examine_loads(alone, 2), LoadAlarmKind::source));
  EXPECT_FALSE(has(examine_loads(Counts(alone.begin(), alone.begin() + 10), 1), LoadAlarmKind::source));
}

TEST(LoadAlarms, HaveRoomForTheLargestCounts) {
  Counts counts(512, 0);
  counts[7] = max_total_load;
  const LoadHealth health = examine_loads(counts, 2);
  EXPECT_TRUE(has(health, LoadAlarmKind::utilisation));
  EXPECT_TRUE(has(health, LoadAlarmKind::entropy));
  EXPECT_EQ(health.num_cold, 255U);
  EXPECT_EQ(examine_loads(Counts(256, max_total_load / 256), 2).entropy, 1'000'000);
}

TEST(LoadAlarms, RefuseWhatCannotBe) {
  EXPECT_THROW(examine_loads(Counts{1, 2, 3}, 2), InvalidInput);
  EXPECT_THROW(examine_loads(Counts{}, 1), InvalidInput);
  EXPECT_THROW(examine_loads(Counts{1}, 0), InvalidInput);
  EXPECT_THROW(examine_loads(Counts{1, -1}, 1), InvalidInput);
  EXPECT_THROW(examine_loads(Counts{max_total_load, 1}, 1), InvalidInput);
  EXPECT_EQ(examine_loads(Counts(8, 0), 2).num_used, 0U);
}

}  // namespace
}  // namespace moewe
