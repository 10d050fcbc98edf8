#include "placement/plan.hpp"

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <numeric>

#include "comm/error.hpp"
#include "placement/plan_groups.hpp"
#include "placement/plan_incremental.hpp"
#include "placement/plan_robust.hpp"
#include "placement/split.hpp"
#include "tests/placement/random_cases.hpp"

namespace moewe {
namespace {

using Loads = std::vector<std::int64_t>;

std::int64_t largest(const Placement& placement, const Loads& loads) {
  return Splitter(placement).largest(loads);
}

double imbalance_of(const Placement& placement, const Loads& loads) {
  const auto total = static_cast<double>(std::accumulate(loads.begin(), loads.end(), std::int64_t{0}));
  if (total == 0) return 1.0;
  return static_cast<double>(largest(placement, loads)) * static_cast<double>(placement.num_ranks()) / total;
}

/// Every slot that can be of use holds an expert, and no rank holds one twice.
void expect_filled(const Placement& placement, const test::PlacementCase& c) {
  ASSERT_EQ(placement.num_ranks(), c.space.slots_per_rank.size());
  for (std::size_t rank = 0; rank < placement.num_ranks(); ++rank) {
    EXPECT_EQ(placement.experts_of(rank_at(rank)).size(),
              std::min(c.space.slots_per_rank[rank], c.loads.size()));
  }
  EXPECT_EQ(count_duplicates(placement), 0U);
}

/// The least largest load of any placement without replicas; tries every one.
std::int64_t best_without_replicas(const SlotSpace& space, const Loads& loads) {
  std::vector<std::size_t> room = space.slots_per_rank;
  Loads ranks(room.size(), 0);
  std::int64_t best = std::accumulate(loads.begin(), loads.end(), std::int64_t{0});
  const std::function<void(std::size_t)> place = [&](std::size_t e) {
    if (e == loads.size()) {
      best = std::min(best, *std::max_element(ranks.begin(), ranks.end()));
      return;
    }
    for (std::size_t rank = 0; rank < room.size(); ++rank) {
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

/// Of the layers of a recorded table that have loads; empty without $MOEWE_DATA.
std::vector<Loads> recorded(const char* name) {
  const char* data = std::getenv("MOEWE_DATA");
  if (data == nullptr) return {};
  std::ifstream file(std::string(data) + "/deepseek_v3_load/" + name + ".json");
  std::vector<Loads> layers;
  const nlohmann::json json = nlohmann::json::parse(file);
  for (const auto& counts : json["logical_count"]) {
    Loads loads;
    for (const auto& count : counts) loads.push_back(static_cast<std::int64_t>(count.get<double>()));
    if (loads[0] > 0) layers.push_back(loads);
  }
  return layers;
}

/// Slots that hold another expert.
std::size_t count_changed(const Placement& from, const Placement& to) {
  std::size_t changed = 0;
  for (std::size_t rank = 0; rank < from.num_ranks(); ++rank) {
    const auto before = from.experts_of(rank_at(rank));
    const auto after = to.experts_of(rank_at(rank));
    EXPECT_EQ(before.size(), after.size());
    for (std::size_t at = 0; at < before.size(); ++at) changed += before[at] == after[at] ? 0U : 1U;
  }
  return changed;
}

SlotSpace slots_288_on_32() { return SlotSpace::equal(Topology::one_node(32), 9); }

TEST(Plan, FillsAllSlotsWithoutDuplicates) {
  test::RandomCases cases(11);
  for (int i = 0; i < 1500; ++i) {
    const test::PlacementCase c = cases.next();
    SCOPED_TRACE(c.name());
    const Placement placement = plan_placement(c.loads, c.space);
    expect_filled(placement, c);
    EXPECT_EQ(placement.epoch(), c.space.epoch);
    EXPECT_EQ(placement.digest(), plan_placement(c.loads, c.space).digest());
  }
}

TEST(Plan, IsNeverWorseThanContiguousExperts) {
  test::RandomCases cases(12);
  for (int i = 0; i < 300; ++i) {
    const std::size_t ranks = cases.number(1, 8);
    const std::size_t per_rank = cases.number(1, 4);
    const Loads loads = cases.loads(ranks * per_rank, 1000);
    const Placement placement = plan_placement(loads, SlotSpace::equal(Topology::one_node(ranks), per_rank));
    EXPECT_LE(largest(placement, loads), largest(contiguous_placement(loads.size(), ranks), loads));
  }
}

TEST(Plan, IsNearTheBestPlacementOfFewExperts) {
  test::RandomCases cases(13);
  double planned = 0;
  double best = 0;
  for (int i = 0; i < 60; ++i) {
    const SlotSpace space = SlotSpace::equal(Topology::one_node(3), 3);
    Loads loads = cases.loads(9, 1000);
    loads[0] += 1;
    const auto least = best_without_replicas(space, loads);
    const auto ours = largest(plan_placement(loads, space), loads);
    EXPECT_GE(ours, least);
    planned += static_cast<double>(ours) / static_cast<double>(least);
    best += 1;
  }
  EXPECT_LE(planned, 1.01 * best);
}

TEST(Plan, SpreadsReplicasOverNodes) {
  const SlotSpace space = SlotSpace::equal(Topology({0, 0, 0, 0, 1, 1, 1, 1}), 3);
  Loads loads(16, 10);
  loads[3] = 300;
  const Placement placement = plan_placement(loads, space);
  const std::span<const Slot> slots = placement.slots_of(ExpertId{3});
  ASSERT_GT(slots.size(), 3U);
  const auto first = std::count_if(slots.begin(), slots.end(),
                                   [&](const Slot& slot) { return space.topology.node_of(slot.rank) == 0; });
  const auto all = static_cast<std::ptrdiff_t>(slots.size());
  EXPECT_LE(std::abs(2 * first - all), 1);
}

TEST(Plan, CopesWithOneExpertOneRankAndNoLoad) {
  const Placement one = plan_placement(Loads{7}, SlotSpace::equal(Topology::one_node(4), 3));
  EXPECT_EQ(one.num_slots(), 4U);
  EXPECT_EQ(largest(one, Loads{7}), 2);
  EXPECT_EQ(plan_placement(Loads{1, 2, 3}, SlotSpace::equal(Topology::one_node(1), 8)).num_slots(), 3U);
  const Placement idle = plan_placement(Loads{0, 0, 0}, SlotSpace::equal(Topology::one_node(2), 2));
  EXPECT_EQ(idle.num_slots(), 4U);
}

TEST(Plan, RefusesWhatCannotBePlaced) {
  EXPECT_THROW(plan_placement(Loads{1, 2, 3}, SlotSpace::equal(Topology::one_node(2), 1)), InvalidInput);
  EXPECT_THROW(plan_placement(Loads{1, -2}, SlotSpace::equal(Topology::one_node(2), 1)), InvalidInput);
  EXPECT_THROW(plan_placement(Loads{1}, {Topology::one_node(2), {1}}), InvalidInput);
  // many slots on one rank are no room for copies
  EXPECT_THROW(plan_placement(Loads{1, 2, 3}, {Topology::one_node(2), {0, 2}}), InvalidInput);
}

TEST(Plan, IsNearTheMeanOnRecordedLoads) {
  const std::vector<Loads> layers = recorded("decode_in1000out1000");
  if (layers.empty()) GTEST_SKIP() << "MOEWE_DATA is not set";
  double sum = 0;
  for (const Loads& loads : layers) {
    const double imbalance = imbalance_of(plan_placement(loads, slots_288_on_32()), loads);
    EXPECT_LE(imbalance, 1.005);
    sum += imbalance;
  }
  EXPECT_LE(sum / static_cast<double>(layers.size()), 1.001);
}

TEST(CountArrivals, CountsExpertsThatARankDidNotHold) {
  const Placement from(0, 3, {{ExpertId{0}, ExpertId{1}}, {ExpertId{2}}});
  const Placement to(1, 3, {{ExpertId{1}, ExpertId{0}}, {ExpertId{2}}});
  EXPECT_EQ(count_arrivals(from, to), 0U);
  EXPECT_EQ(count_arrivals(from, Placement(1, 3, {{ExpertId{0}, ExpertId{2}}, {ExpertId{1}}})), 2U);
}

TEST(IncrementalPlan, KeepsWhatIsGoodEnoughAndNeverGetsWorse) {
  test::RandomCases cases(14);
  for (int i = 0; i < 1000; ++i) {
    const test::PlacementCase c = cases.next();
    SCOPED_TRACE(c.name());
    const Placement from = cases.placement(c);
    const Placement placement = plan_incrementally(from, c.loads);
    EXPECT_EQ(placement.epoch(), from.epoch() + 1);
    EXPECT_EQ(placement.num_slots(), from.num_slots());
    EXPECT_LE(count_duplicates(placement), count_duplicates(from));
    if (imbalance_of(from, c.loads) <= 1.02) {
      EXPECT_EQ(count_arrivals(from, placement), 0U);
    } else {
      EXPECT_LE(largest(placement, c.loads), largest(from, c.loads));
    }
  }
}

TEST(IncrementalPlan, LosesNoExpertWhereRanksHoldSomeTwice) {
  test::RandomCases cases(20);
  for (int i = 0; i < 20000; ++i) {
    const std::size_t ranks = cases.number(3, 8);
    const std::size_t slots = cases.number(2, 6);
    const std::size_t experts = cases.number(ranks, ranks * slots * 3 / 4);
    const test::PlacementCase c{SlotSpace::equal(Topology::one_node(ranks), slots),
                                cases.loads(experts, 100'000)};
    const Placement from = cases.placement(c);
    EXPECT_NO_THROW(plan_incrementally(from, c.loads)) << c.name();
  }
}

TEST(IncrementalPlan, LeavesExpertsThatStayInTheirSlots) {
  test::RandomCases cases(15);
  for (int i = 0; i < 300; ++i) {
    const test::PlacementCase c = cases.next();
    const Placement from = cases.placement(c);
    const Placement placement = plan_incrementally(from, c.loads);
    EXPECT_LE(count_changed(from, placement), 2 * count_arrivals(from, placement) + count_duplicates(from));
  }
}

TEST(IncrementalPlan, SpendsNoMoreThanItMay) {
  test::RandomCases cases(16);
  for (int i = 0; i < 300; ++i) {
    const test::PlacementCase c = cases.next();
    const Placement from = cases.placement(c);
    const std::size_t most = cases.number(0, 4);
    EXPECT_LE(count_arrivals(from, plan_incrementally(from, c.loads, {.most_arrivals = most})), most);
    const auto total = std::accumulate(c.loads.begin(), c.loads.end(), std::int64_t{1});
    EXPECT_EQ(count_arrivals(from, plan_incrementally(from, c.loads, {.price = total})), 0U);
  }
}

TEST(IncrementalPlan, NeedsFewArrivalsAfterARecordedShift) {
  const std::vector<Loads> before = recorded("prefill_in1024");
  const std::vector<Loads> now = recorded("decode_in2000out100");
  if (before.empty()) GTEST_SKIP() << "MOEWE_DATA is not set";
  std::size_t arrivals = 0;
  for (std::size_t layer = 0; layer < before.size(); ++layer) {
    const Placement from = plan_placement(before[layer], slots_288_on_32());
    const Placement placement = plan_incrementally(from, now[layer]);
    arrivals += count_arrivals(from, placement);
    EXPECT_LE(imbalance_of(placement, now[layer]), 1.0201);
  }
  EXPECT_LE(arrivals, 8 * before.size());
}

TEST(RobustPlan, FillsAllSlotsWithoutDuplicates) {
  test::RandomCases cases(17);
  for (int i = 0; i < 150; ++i) {
    const test::PlacementCase c = cases.next();
    SCOPED_TRACE(c.name());
    const RobustOptions options{.scenarios = cases.number(1, 64), .iterations = 50, .seed = 3, .seen = {}};
    const Placement placement = plan_robustly(c.loads, c.space, options);
    expect_filled(placement, c);
    EXPECT_EQ(placement.digest(), plan_robustly(c.loads, c.space, options).digest());
  }
}

TEST(RobustPlan, IsBetterForTheScenariosThanAPlanForTheLoads) {
  test::RandomCases cases(18);
  const SlotSpace space = SlotSpace::equal(Topology::one_node(8), 5);
  for (int i = 0; i < 5; ++i) {
    Loads loads(32);
    for (std::int64_t& load : loads) load = static_cast<std::int64_t>(cases.number(10, 1000));
    const auto seed = static_cast<std::uint64_t>(i);
    const auto scenarios = drift_scenarios(loads, 16, seed);
    const auto sum = [&](const Placement& placement) {
      double of = 0;
      for (const Loads& scenario : scenarios) of += imbalance_of(placement, scenario);
      return of;
    };
    const RobustOptions options{.scenarios = 16, .iterations = 300, .seed = seed, .seen = {}};
    EXPECT_LT(sum(plan_robustly(loads, space, options)), sum(plan_placement(loads, space)));
  }
}

TEST(RobustPlan, TakesLoadsThatWereSeen) {
  const SlotSpace space = SlotSpace::equal(Topology::one_node(4), 3);
  const Loads loads{10, 10, 10, 10, 10, 10, 10, 10};
  const Loads seen{40, 40, 40, 40, 1, 1, 1, 1};
  const RobustOptions options{.scenarios = 1, .iterations = 500, .seed = 1, .seen = {seen}};
  EXPECT_LE(imbalance_of(plan_robustly(loads, space, options), seen), 1.01);
  EXPECT_THROW(plan_robustly(loads, space, {.scenarios = 1, .iterations = 1, .seed = 1, .seen = {Loads{1}}}),
               InvalidInput);
}

TEST(RobustPlan, KeepsReplicasSpreadOverNodes) {
  test::RandomCases cases(21);
  const SlotSpace space = SlotSpace::equal(Topology({0, 0, 0, 0, 1, 1, 1, 1}), 5);
  int num_changed = 0;
  for (int i = 0; i < 10; ++i) {
    Loads loads(30);
    for (std::int64_t& load : loads) load = static_cast<std::int64_t>(cases.number(10, 1000));
    const RobustOptions options{.scenarios = 16, .iterations = 300, .seed = 1, .seen = {}};
    const Placement placement = plan_robustly(loads, space, options);
    num_changed += placement.digest() == plan_placement(loads, space).digest() ? 0 : 1;
    for (std::size_t e = 0; e < loads.size(); ++e) {
      std::ptrdiff_t difference = 0;
      for (const Slot& slot : placement.slots_of(expert_at(e)))
        difference += space.topology.node_of(slot.rank) == 0 ? 1 : -1;
      EXPECT_LE(std::abs(difference), 1);
    }
  }
  EXPECT_GE(num_changed, 5);
}

TEST(RobustPlan, FromAPlacementSpendsNoMoreThanItMay) {
  test::RandomCases cases(22);
  for (int i = 0; i < 100; ++i) {
    const test::PlacementCase c = cases.next();
    SCOPED_TRACE(c.name());
    const Placement from = cases.placement(c);
    RobustOptions options{.scenarios = 8, .iterations = 30, .seed = 1, .seen = {}};
    options.most_arrivals = cases.number(0, 4);
    const Placement placement = plan_robustly_from(from, c.loads, c.space, options);
    EXPECT_LE(count_arrivals(from, placement), options.most_arrivals);
    EXPECT_EQ(placement.epoch(), from.epoch() + 1);
    EXPECT_EQ(placement.num_slots(), from.num_slots());
    EXPECT_LE(count_duplicates(placement), count_duplicates(from));
    EXPECT_LE(count_changed(from, placement), count_arrivals(from, placement) + count_duplicates(from));
    options.most_arrivals = 1000;
    options.price = std::accumulate(c.loads.begin(), c.loads.end(), std::int64_t{1});
    EXPECT_EQ(count_arrivals(from, plan_robustly_from(from, c.loads, c.space, options)), 0U);
  }
  EXPECT_THROW(plan_robustly_from(contiguous_placement(4, 2), Loads{1, 1, 1, 1},
                                  SlotSpace::equal(Topology::one_node(2), 3)),
               InvalidInput);
}

TEST(RobustPlan, FromAPlacementPaysWhatItGains) {
  test::RandomCases cases(23);
  const SlotSpace space = SlotSpace::equal(Topology::one_node(8), 5);
  std::vector<std::size_t> arrivals(3, 0);
  for (int i = 0; i < 5; ++i) {
    Loads loads(32);
    for (std::int64_t& load : loads) load = static_cast<std::int64_t>(cases.number(1000, 100'000));
    const auto total = std::accumulate(loads.begin(), loads.end(), std::int64_t{0});
    const Placement from = plan_placement(Loads(32, 1), space);
    const auto scenarios = drift_scenarios(loads, 16, 1);
    const auto mean_of =
        [&](const Placement& placement) {  // of largest rank loads, in assignments of `loads`
          double of = 0;
          for (const Loads& scenario : scenarios) of += imbalance_of(placement, scenario);
          return of / 16 * static_cast<double>(total) / 8;
        };
    RobustOptions options{.scenarios = 16, .iterations = 300, .seed = 1, .seen = {}};
    for (std::size_t kind = 0; kind < arrivals.size(); ++kind) {
      options.price = total / 8 * static_cast<std::int64_t>(kind) / 100;  // percents of the mean
      const Placement placement = plan_robustly_from(from, loads, space, options);
      const std::size_t arrived = count_arrivals(from, placement);
      const double paid = static_cast<double>(options.price) * static_cast<double>(arrived);
      EXPECT_LT(mean_of(placement), mean_of(from) - paid);
      arrivals[kind] += arrived;
    }
  }
  EXPECT_LT(2 * arrivals[1], arrivals[0]);
  EXPECT_LT(arrivals[2], arrivals[1]);
}

TEST(GroupPlan, KeepsWholeGroupsAtHomeWhereNothingMayBeForeign) {
  test::RandomCases cases(19);
  for (int i = 0; i < 200; ++i) {
    const std::size_t groups = cases.number(1, 6);
    const std::size_t size = cases.number(1, 4);
    const std::size_t nodes = cases.number(1, 3);
    const std::size_t slots = cases.number(1, 4) + (groups * size + nodes - 1) / nodes + size;
    std::vector<std::uint64_t> labels;
    for (std::size_t rank = 0; rank < 2 * nodes; ++rank) labels.push_back(rank % nodes);
    const test::PlacementCase c{SlotSpace::equal(Topology(labels), (slots + 1) / 2),
                                cases.loads(groups * size, 1000)};
    SCOPED_TRACE(c.name());
    const Topology& topology = c.space.topology;
    const Placement whole = plan_with_groups(c.loads, c.space, {.num_groups = groups, .most_foreign = 0});
    EXPECT_EQ(count_foreign(whole, topology, home_nodes(whole, topology, groups)), 0U);
    EXPECT_EQ(count_duplicates(whole), 0U);
    const std::size_t most = cases.number(1, 5);
    const Placement some = plan_with_groups(c.loads, c.space, {.num_groups = groups, .most_foreign = most});
    EXPECT_EQ(count_duplicates(some), 0U);
    EXPECT_LE(count_foreign(some, topology, home_nodes(whole, topology, groups)), most);
  }
}

TEST(GroupPlan, RefusesGroupsThatDoNotFit) {
  const SlotSpace space = SlotSpace::equal(Topology({0, 1}), 3);
  EXPECT_THROW(plan_with_groups(Loads{1, 2, 3, 4}, space, {.num_groups = 3}), InvalidInput);
  EXPECT_THROW(plan_with_groups(Loads{1, 2, 3, 4}, space, {.num_groups = 0}), InvalidInput);
  EXPECT_THROW(plan_with_groups(Loads{1, 2, 3, 4, 5, 6}, {Topology({0, 1}), {5, 1}}, {.num_groups = 3}),
               InvalidInput);
  EXPECT_EQ(plan_with_groups(Loads{1, 2, 3, 4, 5, 6}, space, {.num_groups = 2}).num_slots(), 6U);
}

TEST(GroupPlan, BalancesNodesWithFewForeignSlotsOnRecordedLoads) {
  const std::vector<Loads> layers = recorded("prefill_in4096");
  if (layers.empty()) GTEST_SKIP() << "MOEWE_DATA is not set";
  std::vector<std::uint64_t> nodes;
  for (std::uint64_t rank = 0; rank < 32; ++rank) nodes.push_back(rank / 8);
  const SlotSpace space = SlotSpace::equal(Topology(nodes), 9);
  std::size_t foreign = 0;
  for (const Loads& loads : layers) {
    const Placement placement = plan_with_groups(loads, space, {.num_groups = 8});
    EXPECT_LE(imbalance_of(placement, loads), 1.0201);
    foreign += count_foreign(placement, space.topology, home_nodes(placement, space.topology, 8));
  }
  EXPECT_LE(foreign, 16 * layers.size());
}

TEST(DriftScenarios, AreTheSameEverywhere) {
  EXPECT_EQ(drift_scenarios(Loads{1, 2, 3}, 2, 1), drift_scenarios(Loads{100, 200, 300}, 2, 1));
  EXPECT_NE(drift_scenarios(Loads{1, 2, 3}, 2, 1), drift_scenarios(Loads{1, 2, 3}, 2, 2));
  EXPECT_EQ(drift_scenarios(Loads{0, 0}, 1, 1), (std::vector<Loads>{{0, 0}}));
}

TEST(DriftScenarios, AreNearlyLognormal) {
  const std::size_t experts = 4096;
  for (const Loads& scenario : drift_scenarios(Loads(experts, 1000), 20, 5)) {
    double sum = 0;
    double squares = 0;
    for (const std::int64_t load : scenario) {
      const double x = std::log(static_cast<double>(load));
      sum += x;
      squares += x * x;
    }
    const double mean = sum / static_cast<double>(experts);
    const double sd = std::sqrt(squares / static_cast<double>(experts) - mean * mean);
    EXPECT_GT(sd, 0.045);
    EXPECT_LT(sd, 0.53);
    const auto total = std::accumulate(scenario.begin(), scenario.end(), std::int64_t{0});
    EXPECT_NEAR(static_cast<double>(total), 0x1p30, 0x1p15);
    EXPECT_NEAR(std::exp(mean + sd * sd / 2) * static_cast<double>(experts), 0x1p30, 0x1p25);
  }
}

}  // namespace
}  // namespace moewe
