#include "placement/placement.hpp"

#include <array>
#include <gtest/gtest.h>
#include <string>
#include <utility>
#include <vector>

#include "comm/error.hpp"

namespace moewe {
namespace {

std::string refusal(std::size_t num_experts, std::vector<std::vector<ExpertId>> experts) {
  try {
    const Placement placement(0, num_experts, std::move(experts));
  } catch (const InvalidInput& error) {
    return error.what();
  }
  return "";
}

TEST(ContiguousPlacement, PutsExpertEOnRankFloorOfERByE) {
  for (const std::size_t num_experts : {1U, 3U, 8U, 256U, 257U}) {
    for (const std::size_t num_ranks : {1U, 2U, 3U, 5U, 64U}) {
      const Placement placement = contiguous_placement(num_experts, num_ranks);
      std::size_t total = 0;
      for (std::size_t rank = 0; rank < num_ranks; ++rank)
        total += placement.experts_of(rank_at(rank)).size();
      EXPECT_EQ(total, num_experts);
      for (std::size_t e = 0; e < num_experts; ++e) {
        const Slot& slot = placement.slot_of(expert_at(e));
        EXPECT_EQ(index(slot.rank), e * num_ranks / num_experts);
        EXPECT_EQ(placement.experts_of(slot.rank)[slot.position], expert_at(e));
      }
    }
  }
}

TEST(Placement, RefusesExpertsThatAreMissingOrUnknown) {
  EXPECT_EQ(refusal(2, {{ExpertId{0}}, {ExpertId{1}}}), "");
  EXPECT_EQ(refusal(2, {{ExpertId{0}}, {}}), "placement: expert 1 is on no rank");
  EXPECT_EQ(refusal(2, {{ExpertId{0}, ExpertId{2}}}),
            "placement: rank 0 holds expert 2, but experts go from 0 to 1");
  EXPECT_EQ(refusal(1, {{ExpertId{-1}}}), "placement: rank 0 holds expert -1, but experts go from 0 to 0");
}

TEST(Placement, KnowsTheSlotsOfReplicatedExperts) {
  const Placement placement(0, 3, {{ExpertId{2}, ExpertId{0}}, {}, {ExpertId{1}, ExpertId{2}, ExpertId{2}}});
  EXPECT_EQ(placement.num_experts(), 3U);
  EXPECT_EQ(placement.num_slots(), 5U);
  EXPECT_TRUE(placement.has_replicas());
  EXPECT_FALSE(contiguous_placement(3, 2).has_replicas());
  const auto slots = placement.slots_of(ExpertId{2});
  EXPECT_EQ(std::vector(slots.begin(), slots.end()),
            (std::vector<Slot>{{Rank{0}, 0}, {Rank{2}, 1}, {Rank{2}, 2}}));
  EXPECT_EQ(placement.slots_of(ExpertId{1}).size(), 1U);
  EXPECT_EQ(placement.slot_of(ExpertId{1}), (Slot{Rank{2}, 0}));
}

TEST(Placement, HasADigestOfItsSlots) {
  const auto digest = [](std::vector<std::vector<ExpertId>> experts) {
    return Placement(0, 2, std::move(experts)).digest();
  };
  const std::uint64_t some = digest({{ExpertId{0}}, {ExpertId{1}}});
  EXPECT_EQ(some, digest({{ExpertId{0}}, {ExpertId{1}}}));
  EXPECT_NE(some, digest({{ExpertId{1}}, {ExpertId{0}}}));
  EXPECT_NE(some, digest({{ExpertId{0}, ExpertId{1}}, {}}));
  EXPECT_NE(some, digest({{ExpertId{0}}, {ExpertId{1}}, {}}));
  EXPECT_NE(some, digest({{ExpertId{0}}, {ExpertId{1}, ExpertId{0}}}));
  EXPECT_NE(some, Placement(1, 2, {{ExpertId{0}}, {ExpertId{1}}}).digest());
}

TEST(Placement, SumsLoadsOfARanksExperts) {
  const Placement placement(4, 3, {{ExpertId{2}}, {}, {ExpertId{0}, ExpertId{1}}});
  EXPECT_EQ(placement.epoch(), 4U);
  EXPECT_EQ(placement.rank_loads(std::array<std::int64_t, 3>{5, 7, 9}),
            (std::vector<std::int64_t>{9, 0, 12}));
}

TEST(Imbalance, IsLargestOverMean) {
  EXPECT_DOUBLE_EQ(imbalance(std::array<std::int64_t, 3>{9, 0, 12}), 12.0 / 7.0);
  EXPECT_DOUBLE_EQ(imbalance(std::array<std::int64_t, 2>{4, 4}), 1.0);
  EXPECT_DOUBLE_EQ(imbalance(std::array<std::int64_t, 2>{0, 0}), 1.0);
}

}  // namespace
}  // namespace moewe
