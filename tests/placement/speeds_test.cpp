#include "placement/speeds.hpp"

#include <algorithm>
#include <functional>
#include <gtest/gtest.h>
#include <numeric>

#include "comm/error.hpp"
#include "placement/plan_groups.hpp"
#include "placement/plan_incremental.hpp"
#include "placement/plan_robust.hpp"
#include "placement/speed_split.hpp"
#include "placement/split.hpp"
#include "tests/placement/random_cases.hpp"

namespace moewe {
namespace {

using Loads = std::vector<std::int64_t>;
using Slowness = std::vector<Millionths>;

constexpr Millionths one = 1'000'000;

Slowness random_slowness(test::RandomCases& cases, std::size_t num_ranks) {
  Slowness slowness;
  for (std::size_t rank = 0; rank < num_ranks; ++rank)
    slowness.push_back(static_cast<Millionths>(cases.number(500'000, 3'000'000)));
  return slowness;
}

std::int64_t total_of(const Loads& loads) {
  return std::accumulate(loads.begin(), loads.end(), std::int64_t{0});
}

/// In assignments of the fastest rank, and not rounded.
double longest(const Loads& rank_loads, const Slowness& slowness) {
  const double fastest = static_cast<double>(*std::min_element(slowness.begin(), slowness.end()));
  double time = 0;
  for (std::size_t rank = 0; rank < slowness.size(); ++rank)
    time =
        std::max(time, static_cast<double>(rank_loads[rank]) * static_cast<double>(slowness[rank]) / fastest);
  return time;
}

double time_of(const Placement& placement, const Loads& loads, const Slowness& slowness) {
  return longest(split_for_speeds(placement, loads, slowness).rank_loads, slowness);
}

/// The least possible if loads could be shared freely.
double mean_time(const Loads& loads, const Slowness& slowness) {
  const double fastest = static_cast<double>(*std::min_element(slowness.begin(), slowness.end()));
  double speed = 0;
  for (const Millionths of_rank : slowness) speed += fastest / static_cast<double>(of_rank);
  return static_cast<double>(total_of(loads)) / speed;
}

/// The least of any placement without replicas; tries every one.
double best_without_replicas(const SlotSpace& space, const Loads& loads) {
  std::vector<std::size_t> room = space.slots_per_rank;
  Loads ranks(room.size(), 0);
  double best = 1e300;
  const std::function<void(std::size_t)> place = [&](std::size_t e) {
    if (e == loads.size()) best = std::min(best, longest(ranks, space.slowness));
    for (std::size_t rank = 0; e < loads.size() && rank < room.size(); ++rank) {
      if (room[rank] == 0) continue;
      --room[rank];
      ranks[rank] += loads[e];
      place(e + 1);
      ranks[rank] -= loads[e];
      ++room[rank];
    }
  };
  place(0);
  return best;
}

TEST(RankSpeeds, CountTimeInAssignmentsOfTheFastestRank) {
  const RankSpeeds speeds(Slowness{one, 2 * one, 2 * one}, 3);
  EXPECT_FALSE(speeds.are_equal());
  EXPECT_EQ(speeds.mean_time(100), 50);
  EXPECT_EQ(speeds.allowed_time(100, 1'100'000), 55);
  EXPECT_EQ(speeds.base_loads(50), (Loads{0, 25, 25}));
  const RankSpeeds equal(Slowness{3 * one, 3 * one}, 2);
  EXPECT_TRUE(equal.are_equal());
  EXPECT_EQ(equal.mean_time(101), 51);
  EXPECT_EQ(equal.base_loads(50), (Loads{0, 0}));
  EXPECT_EQ(RankSpeeds({}, 4).mean_time(10), 3);
}

TEST(RankSpeeds, RefuseWhatCannotBe) {
  EXPECT_THROW(RankSpeeds(Slowness{one}, 2), InvalidInput);
  EXPECT_THROW(RankSpeeds(Slowness{one, 0}, 2), InvalidInput);
  EXPECT_THROW(RankSpeeds(Slowness{one, 1000 * one + 1}, 2), InvalidInput);
  EXPECT_THROW(plan_placement(Loads{1, 1}, {Topology::one_node(2), {1, 1}, 0, {one}}), InvalidInput);
  EXPECT_THROW(plan_incrementally(contiguous_placement(2, 2), Loads{1, 1}, {.slowness = {one}}),
               InvalidInput);
}

TEST(LeastTime, IsThatOfTheSplitForSpeeds) {
  test::RandomCases cases(31);
  for (int i = 0; i < 500; ++i) {
    const test::PlacementCase c = cases.next();
    const Placement placement = cases.placement(c);
    const Slowness slowness = random_slowness(cases, placement.num_ranks());
    const auto time = least_time(placement, c.loads, RankSpeeds(slowness, slowness.size()));
    const double wanted = time_of(placement, c.loads, slowness);  // whole assignments of a slowness of 1
    EXPECT_LE(std::abs(static_cast<double>(time) - wanted), 3.0) << c.name();
  }
}

TEST(SpeedPlan, IsNeverSlowerThanThePlanThatIgnoresSpeeds) {
  test::RandomCases cases(32);
  double ratio = 0;
  int num_loaded = 0;
  for (int i = 0; i < 500; ++i) {
    test::PlacementCase c = cases.next();
    SCOPED_TRACE(c.name());
    const Placement ignoring = plan_placement(c.loads, c.space);
    c.space.slowness = random_slowness(cases, c.space.slots_per_rank.size());
    const RankSpeeds speeds(c.space.slowness, c.space.slots_per_rank.size());
    const Placement placement = plan_placement(c.loads, c.space);
    EXPECT_EQ(placement.num_slots(), ignoring.num_slots());
    EXPECT_EQ(count_duplicates(placement), 0U);
    EXPECT_LE(least_time(placement, c.loads, speeds), least_time(ignoring, c.loads, speeds));
    EXPECT_EQ(placement.digest(), plan_placement(c.loads, c.space).digest());
    if (total_of(c.loads) < 1000 || speeds.are_equal()) continue;
    ratio += time_of(placement, c.loads, c.space.slowness) / time_of(ignoring, c.loads, c.space.slowness);
    ++num_loaded;
  }
  EXPECT_LE(ratio / num_loaded, 0.95);
}

TEST(SpeedPlan, IsNearTheBestPlacementOfFewExperts) {
  test::RandomCases cases(33);
  double planned = 0;
  const int rounds = 60;
  for (int i = 0; i < rounds; ++i) {
    SlotSpace space = SlotSpace::equal(Topology::one_node(3), 3);
    space.slowness = random_slowness(cases, 3);
    Loads loads = cases.loads(9, 1000);
    loads[0] += 1;
    const double least = best_without_replicas(space, loads);
    const double ours = time_of(plan_placement(loads, space), loads, space.slowness);
    EXPECT_GE(ours, least * 0.999999);
    planned += ours / least;
  }
  EXPECT_LE(planned / rounds, 1.03);
}

TEST(SpeedPlan, IsTheUsualOneWhereRanksAreEquallyFast) {
  test::RandomCases cases(34);
  for (int i = 0; i < 300; ++i) {
    test::PlacementCase c = cases.next();
    const Placement from = cases.placement(c);
    const Slowness slowness(c.space.slots_per_rank.size(), 2 * one);
    const RobustOptions robust{.scenarios = 8, .iterations = 20, .seed = 1, .seen = {}};
    const auto usual = plan_placement(c.loads, c.space).digest();
    const auto usual_robust = plan_robustly(c.loads, c.space, robust).digest();
    c.space.slowness = slowness;
    EXPECT_EQ(plan_placement(c.loads, c.space).digest(), usual);
    EXPECT_EQ(plan_robustly(c.loads, c.space, robust).digest(), usual_robust);
    EXPECT_EQ(plan_incrementally(from, c.loads, {.slowness = slowness}).digest(),
              plan_incrementally(from, c.loads).digest());
  }
}

/// One rank in four is twice as slow as the others.
Slowness every_fourth_slow(std::size_t num_ranks) {
  Slowness slowness;
  for (std::size_t rank = 0; rank < num_ranks; ++rank) slowness.push_back(rank % 4 == 1 ? 2 * one : one);
  return slowness;
}

void expect_half_on_slow_ranks(const Placement& placement, const Loads& loads, const Slowness& slowness,
                               double target) {
  EXPECT_LE(time_of(placement, loads, slowness), target * mean_time(loads, slowness) + 2);
  const Split split = split_for_speeds(placement, loads, slowness);
  for (std::size_t rank = 1; rank < slowness.size(); rank += 4) {
    EXPECT_NEAR(static_cast<double>(split.rank_loads[rank]) / static_cast<double>(split.largest), 0.5, 0.06);
  }
}

TEST(SpeedPlan, GivesARankThatIsTwiceAsSlowHalfAsMuch) {
  test::RandomCases cases(35);
  const SlotSpace space{Topology({0, 0, 0, 0, 1, 1, 1, 1}), std::vector<std::size_t>(8, 9), 0,
                        every_fourth_slow(8)};
  const Slowness& slowness = space.slowness;
  const SlotSpace ignoring{space.topology, space.slots_per_rank};
  for (int i = 0; i < 20; ++i) {
    Loads loads(64);
    for (std::int64_t& load : loads) load = static_cast<std::int64_t>(cases.number(10'000, 100'000));
    expect_half_on_slow_ranks(plan_placement(loads, space), loads, slowness, 1.02);
    expect_half_on_slow_ranks(plan_with_groups(loads, space, {.num_groups = 4}), loads, slowness, 1.021);
    const Placement from = plan_placement(loads, ignoring);
    const Placement near = plan_incrementally(from, loads, {.slowness = slowness});
    expect_half_on_slow_ranks(near, loads, slowness, 1.021);
    EXPECT_LE(count_arrivals(from, near), 20U);
  }
}

TEST(SpeedPlan, NearAPlacementIsNeverSlowerThanThat) {
  test::RandomCases cases(36);
  for (int i = 0; i < 500; ++i) {
    const test::PlacementCase c = cases.next();
    SCOPED_TRACE(c.name());
    const Placement from = cases.placement(c);
    const Slowness slowness = random_slowness(cases, from.num_ranks());
    const RankSpeeds speeds(slowness, from.num_ranks());
    const Placement placement = plan_incrementally(from, c.loads, {.slowness = slowness});
    const std::int64_t before = least_time(from, c.loads, speeds);
    const std::int64_t allowed = speeds.allowed_time(total_of(c.loads), 1'020'000);
    EXPECT_LE(least_time(placement, c.loads, speeds), std::max(before, allowed));
    if (before <= allowed) {
      EXPECT_EQ(count_arrivals(from, placement), 0U);
    }
  }
}

TEST(SpeedPlan, IsReadyForDriftToo) {
  test::RandomCases cases(37);
  SlotSpace space = SlotSpace::equal(Topology::one_node(8), 5);
  for (int i = 0; i < 5; ++i) {
    Loads loads(32);
    for (std::int64_t& load : loads) load = static_cast<std::int64_t>(cases.number(10, 1000));
    const auto scenarios = drift_scenarios(loads, 16, 1);
    space.slowness.clear();
    const RobustOptions options{.scenarios = 16, .iterations = 300, .seed = 1, .seen = {}};
    const Placement ignoring = plan_robustly(loads, space, options);
    space.slowness = random_slowness(cases, 8);
    const RankSpeeds speeds(space.slowness, 8);
    const auto sum = [&](const Placement& placement) {
      std::int64_t of = 0;
      for (const Loads& scenario : scenarios) of += least_time(placement, scenario, speeds);
      return of;
    };
    const Placement robust = plan_robustly(loads, space, options);
    EXPECT_LT(sum(robust), sum(plan_placement(loads, space)));
    EXPECT_LT(sum(robust), sum(ignoring));
  }
}

TEST(SpeedPlan, LeavesARankThatHardlyComputesTheLeast) {
  SlotSpace space = SlotSpace::equal(Topology::one_node(4), 4);
  space.slowness = {one, 1000 * one, one, one};
  Loads loads{1, 2, 3, 4, 500, 600, 700, 800, 500, 600, 700, 800};
  const Split split = split_for_speeds(plan_placement(loads, space), loads, space.slowness);
  EXPECT_LE(split.rank_loads[1], 10);
}

}  // namespace
}  // namespace moewe
