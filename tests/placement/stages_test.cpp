#include "placement/stages.hpp"

#include <algorithm>
#include <gtest/gtest.h>
#include <random>
#include <set>

#include "placement/plan.hpp"

namespace moewe {
namespace {

std::set<ExpertId> set_of(const Placement& placement, std::size_t rank) {
  const auto experts = placement.experts_of(rank_at(rank));
  return {experts.begin(), experts.end()};
}

std::vector<std::set<ExpertId>> sets_of(const Placement& placement) {
  std::vector<std::set<ExpertId>> sets;
  for (std::size_t rank = 0; rank < placement.num_ranks(); ++rank) sets.push_back(set_of(placement, rank));
  return sets;
}

/// Any, on these slots, without duplicates on a rank.
Placement random_on(const std::vector<std::size_t>& slots, std::size_t num_experts, std::mt19937_64& random) {
  std::vector<std::int64_t> loads(num_experts);
  for (std::int64_t& load : loads) load = static_cast<std::int64_t>(random() % 1000);
  return plan_placement(loads, {Topology::one_node(slots.size()), slots, 0});
}

std::size_t most_arrivals(const Placement& from, const Placement& to) {
  std::size_t most = 0;
  for (std::size_t rank = 0; rank < to.num_ranks(); ++rank) {
    const std::set<ExpertId> before = set_of(from, rank), after = set_of(to, rank);
    const auto arrivals =
        std::count_if(after.begin(), after.end(), [&](ExpertId expert) { return before.count(expert) == 0; });
    most = std::max(most, static_cast<std::size_t>(arrivals));
  }
  return most;
}

TEST(NextStage, HasTheSlownessOfTheTarget) {
  const std::vector<Millionths> slowness{1'000'000, 2'000'000};
  const Placement target = contiguous_placement(4, 2).with_slowness(slowness);
  EXPECT_EQ(next_stage(contiguous_placement(4, 2), target, 1).slowness(), slowness);
  EXPECT_EQ(with_spare_copies(target, 1).slowness(), slowness);
}

TEST(NextStage, GetsThereWithinTheRoomOfEveryRank) {
  std::mt19937_64 random(3);
  for (int i = 0; i < 400; ++i) {
    const std::size_t num_ranks = random() % 6 + 1;
    const std::size_t num_experts = random() % 12 + 1;
    std::vector<std::size_t> slots(num_ranks);
    for (std::size_t& count : slots) count = num_experts / num_ranks + 1 + random() % 2;
    const Placement target = random_on(slots, num_experts, random);
    Placement now = random_on(slots, num_experts, random);
    const std::size_t room = random() % 3 + 1;
    std::size_t stages = 0;
    while (sets_of(now) != sets_of(target)) {
      ASSERT_LT(stages++, num_ranks * num_experts) << i;
      const Placement next = next_stage(now, target, room);  // which holds every expert, or throws
      EXPECT_EQ(next.epoch(), now.epoch() + 1);
      EXPECT_LE(most_arrivals(now, next), room);
      EXPECT_LT(count_arrivals(next, target), count_arrivals(now, target));
      EXPECT_EQ(count_duplicates(next), 0U);
      for (std::size_t rank = 0; rank < num_ranks; ++rank) {
        EXPECT_LE(next.experts_of(rank_at(rank)).size(),
                  std::max(now.experts_of(rank_at(rank)).size(), target.experts_of(rank_at(rank)).size()));
      }
      now = next;
    }
  }
}

TEST(NextStage, ExchangesExpertsThatHaveNoCopiesAtOnce) {
  const auto placed = [](std::vector<std::vector<ExpertId>> experts) {
    return Placement(5, 3, std::move(experts));
  };
  const Placement now = placed({{ExpertId{0}}, {ExpertId{1}}, {ExpertId{2}}});
  const Placement target = placed({{ExpertId{1}}, {ExpertId{2}}, {ExpertId{0}}});
  EXPECT_EQ(sets_of(next_stage(now, target, 1)), sets_of(target));
}

TEST(NextStage, TakesFurtherSlotsOfAnExpertOnARankForFree) {
  const auto placed = [](std::vector<std::vector<ExpertId>> experts) {
    return Placement(5, 3, std::move(experts));
  };
  const Placement now = placed({{ExpertId{0}, ExpertId{0}, ExpertId{1}}, {ExpertId{2}}});
  const Placement target = placed({{ExpertId{0}, ExpertId{2}, ExpertId{1}}, {ExpertId{2}}});
  const Placement next = next_stage(now, target, 1);
  EXPECT_EQ(sets_of(next), sets_of(target));
  EXPECT_EQ(count_duplicates(next), 0U);
}

TEST(WithSpareCopies, FillsSlotsWithOtherExpertsCopiesOfAllAlike) {
  const Placement placement = with_spare_copies(contiguous_placement(8, 4), 2);
  for (std::size_t e = 0; e < 8; ++e) EXPECT_EQ(placement.slots_of(expert_at(e)).size(), 2U);
  EXPECT_EQ(count_duplicates(placement), 0U);
  EXPECT_EQ(with_spare_copies(contiguous_placement(3, 2), 5).num_slots(), 6U);  // all on both
}

TEST(WithSlots, FillsRanksThatHaveFewer) {
  const Placement placement(5, 4, {{expert_at(0), expert_at(1), expert_at(2)}, {expert_at(3)}});
  const std::vector<std::size_t> slots{2, 3};
  const Placement filled = with_slots(placement, slots);
  EXPECT_EQ(filled.experts_of(Rank{0}).size(), 3U);
  EXPECT_EQ(filled.experts_of(Rank{1}).size(), 3U);
  EXPECT_EQ(filled.experts_of(Rank{1})[0], expert_at(3));
  EXPECT_EQ(count_duplicates(filled), 0U);
  EXPECT_EQ(filled.epoch(), 5U);
}

}  // namespace
}  // namespace moewe
