#include "placement/speed_split.hpp"

#include <algorithm>
#include <functional>
#include <gtest/gtest.h>
#include <numeric>

#include "comm/error.hpp"
#include "tests/placement/random_cases.hpp"

namespace moewe {
namespace {

using Loads = std::vector<std::int64_t>;

/// Whether all ranks can be done in `time`: by every set of ranks and what no other rank holds.
bool is_possible(const Placement& placement, const Loads& loads, const std::vector<Millionths>& slowness,
                 std::int64_t time) {
  for (std::size_t set = 1; set < (std::size_t{1} << placement.num_ranks()); ++set) {
    std::int64_t room = 0;
    for (std::size_t rank = 0; rank < placement.num_ranks(); ++rank)
      if (((set >> rank) & 1U) != 0) room += time * 1'000'000 / slowness[rank];
    std::int64_t inside = 0;
    for (std::size_t e = 0; e < loads.size(); ++e) {
      const auto slots = placement.slots_of(expert_at(e));
      const bool is_inside = std::all_of(slots.begin(), slots.end(), [&](const Slot& slot) {
        return ((set >> index(slot.rank)) & 1U) != 0;
      });
      inside += is_inside ? loads[e] : 0;
    }
    if (inside > room) return false;
  }
  return true;
}

std::int64_t time_of(const Split& split, const std::vector<Millionths>& slowness) {
  std::int64_t longest = 0;
  for (std::size_t rank = 0; rank < slowness.size(); ++rank)
    longest = std::max(longest, (split.rank_loads[rank] * slowness[rank] + 999'999) / 1'000'000);
  return longest;
}

TEST(SpeedSplit, TakesTheLeastTimeThatAnySplitCanTake) {
  test::RandomCases cases(1);
  for (int round = 0; round < 500; ++round) {
    const test::PlacementCase c = cases.next();
    const Placement placement = cases.placement(c);
    std::vector<Millionths> slowness;
    for (std::size_t rank = 0; rank < placement.num_ranks(); ++rank)
      slowness.push_back(static_cast<Millionths>(cases.number(300'000, 3'000'000)));
    const Split split = split_for_speeds(placement, c.loads, slowness);
    const std::int64_t time = time_of(split, slowness);
    EXPECT_TRUE(is_possible(placement, c.loads, slowness, time)) << c.name();
    if (time > 0) {
      EXPECT_FALSE(is_possible(placement, c.loads, slowness, time - 1)) << c.name();
    }
    Loads of_rank(placement.num_ranks(), 0);
    std::size_t next = 0;
    for (std::size_t e = 0; e < c.loads.size(); ++e) {
      std::int64_t sum = 0;
      for (const Slot& slot : placement.slots_of(expert_at(e))) {
        EXPECT_GE(split.shares[next], 0);
        of_rank[index(slot.rank)] += split.shares[next];
        sum += split.shares[next++];
      }
      EXPECT_EQ(sum, c.loads[e]);
    }
    EXPECT_EQ(next, split.shares.size());
    EXPECT_EQ(of_rank, split.rank_loads);
    EXPECT_EQ(split.largest, *std::max_element(of_rank.begin(), of_rank.end()));
  }
}

TEST(SpeedSplit, BySourceTakesAsLongAndServesWhatComes) {
  test::RandomCases cases(3);
  std::int64_t at_home = 0;
  for (int round = 0; round < 300; ++round) {
    const test::PlacementCase c = cases.next();
    const Placement placement = cases.placement(c);
    const std::size_t num_ranks = placement.num_ranks();
    const std::size_t num_experts = c.loads.size();
    std::vector<Millionths> slowness;
    Loads counts, loads(num_experts, 0);
    for (std::size_t rank = 0; rank < num_ranks; ++rank) {
      slowness.push_back(static_cast<Millionths>(cases.number(300'000, 3'000'000)));
      for (std::size_t e = 0; e < num_experts; ++e) {
        counts.push_back(static_cast<std::int64_t>(cases.number(0, 50)));
        loads[e] += counts.back();
      }
    }
    const SourceSplit split = split_by_source_for_speeds(placement, c.space.topology, counts, slowness);
    EXPECT_EQ(time_of(split.split, slowness),
              time_of(split_for_speeds(placement, loads, slowness), slowness));
    EXPECT_EQ(placement.expert_loads(split.split.shares), loads) << c.name();
    EXPECT_EQ(placement.rank_loads(split.split.shares), split.split.rank_loads);
    Loads per_slot(placement.num_slots(), 0);
    for (std::size_t source = 0; source < num_ranks; ++source) {
      const auto quotas = split.quotas_of(rank_at(source));
      const Loads served = placement.expert_loads(quotas);
      EXPECT_TRUE(std::equal(served.begin(), served.end(),
                             counts.begin() + static_cast<std::ptrdiff_t>(source * num_experts)));
      std::transform(quotas.begin(), quotas.end(), per_slot.begin(), per_slot.begin(), std::plus<>());
    }
    EXPECT_EQ(per_slot, split.split.shares);
    EXPECT_GE(split.on_own_rank, 0);
    EXPECT_LE(split.on_own_rank, split.on_own_node);
    at_home += split.on_own_rank;
  }
  EXPECT_GT(at_home, 0);
}

TEST(SpeedSplit, IsTheUsualOneWhereRanksAreEquallyFast) {
  test::RandomCases cases(2);
  for (int round = 0; round < 100; ++round) {
    const test::PlacementCase c = cases.next();
    const Placement placement = cases.placement(c);
    EXPECT_EQ(split_for_speeds(placement, c.loads, {}).largest, split_loads(placement, c.loads).largest);
  }
}

TEST(SpeedSplit, GivesASlowRankLess) {
  const Placement placement(0, 1, {{expert_at(0)}, {expert_at(0)}, {expert_at(0)}});
  const Split split =
      split_for_speeds(placement, Loads{1000}, std::vector<Millionths>{1'000'000, 2'000'000, 1'000'000});
  EXPECT_EQ(split.rank_loads, (Loads{400, 200, 400}));
}

TEST(SpeedSplit, RefusesWhatCannotBe) {
  const Placement placement = contiguous_placement(4, 2);
  const auto refuses = [&](const Loads& loads, const std::vector<Millionths>& slowness) {
    EXPECT_THROW(split_for_speeds(placement, loads, slowness), InvalidInput);
  };
  refuses({1, 1, 1, 1}, {1'000'000});
  refuses({1, 1, 1, 1}, {1'000'000, 0});
  refuses({1, 1, 1, 1}, {1'000'000, 1'000'000'001});
  refuses({max_total_load / 2, 1, 1, 1}, {1'000'000, 1'000'000});
  refuses({1, 1, 1, -1}, {1'000'000, 1'000'000});
  refuses({1, 1, 1}, {1'000'000, 1'000'000});
}

}  // namespace
}  // namespace moewe
