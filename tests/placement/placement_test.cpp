#include "placement/placement.hpp"

#include <array>
#include <gtest/gtest.h>
#include <string>

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

TEST(Placement, RefusesExpertsThatAreMissingTwiceOrUnknown) {
  EXPECT_EQ(refusal(2, {{ExpertId{0}}, {ExpertId{1}}}), "");
  EXPECT_EQ(refusal(2, {{ExpertId{0}}, {}}), "placement: expert 1 is on no rank");
  EXPECT_EQ(refusal(2, {{ExpertId{0}, ExpertId{1}}, {ExpertId{0}}}),
            "placement: expert 0 is on rank 0 and again on rank 1");
  EXPECT_EQ(refusal(2, {{ExpertId{0}, ExpertId{2}}}),
            "placement: rank 0 holds expert 2, but experts go from 0 to 1");
  EXPECT_EQ(refusal(1, {{ExpertId{-1}}}), "placement: rank 0 holds expert -1, but experts go from 0 to 0");
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
