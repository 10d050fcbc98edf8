#include "launch/migration_budget.hpp"

#include <gtest/gtest.h>

#include "comm/loopback/run_ranks.hpp"

namespace moewe {
namespace {

constexpr LinkCost gigabit{3e-5, 8e-9};
const Topology two_by_two({0, 0, 1, 1});

TEST(MigrationBudget, IsAShareOfWhatALinkCarriesForEachRankOfANode) {
  EXPECT_NEAR(static_cast<double>(MigrationBudget::of_link(gigabit, 1, 0.04)), 250'000, 1);
  EXPECT_NEAR(static_cast<double>(MigrationBudget::of_link(gigabit, 2, 0.04)), 125'000, 1);
  EXPECT_NEAR(static_cast<double>(MigrationBudget::of_link(gigabit, 2, 0.08)), 250'000, 1);
}

TEST(MigrationBudget, IsAtLeastAChunkAndAtMostWhatCanBeUnderWay) {
  EXPECT_EQ(MigrationBudget::of_link(gigabit, 2, 1e-5), ChunkCarrier::most_payload);
  EXPECT_EQ(MigrationBudget::of_link(gigabit, 2, 1e3), ChunkCarrier::window * ChunkCarrier::most_payload);
}

TEST(MigrationBudget, IsWhatWasAskedForOrFixedWhereNoLinkCounts) {
  const MigrationBudget given(two_by_two, 5000, gigabit);
  EXPECT_EQ(given.bytes(true), 5000U);
  EXPECT_EQ(given.bytes(false), 5000U);
  EXPECT_EQ(given.reason(), "asked for");
  const MigrationBudget alone(Topology::one_node(2), 0, std::nullopt),
      unmeasured(two_by_two, 0, std::nullopt);
  EXPECT_EQ(alone.bytes(), MigrationBudget::inside_nodes);
  EXPECT_EQ(alone.reason(), "all ranks share a node");
  EXPECT_EQ(unmeasured.bytes(), MigrationBudget::inside_nodes);
  EXPECT_EQ(unmeasured.reason(), "links were not measured");
}

/// Of which each rank has its own.
TEST(MigrationBudget, FollowsTheStepsAlikeOnAllRanks) {
  run_ranks(two_by_two, std::chrono::seconds(20), [](Communicator& communicator) {
    MigrationBudget budget(two_by_two, 0, gigabit);
    const double more = static_cast<double>(index(communicator.rank()));
    budget.step_done(communicator, 100 + more);  // in which everything is new
    EXPECT_EQ(budget.bytes(), MigrationBudget::least);
    for (int step = 1; step < 4; ++step) budget.step_done(communicator, 0.08 + more);
    EXPECT_NEAR(static_cast<double>(budget.bytes()), 250'000, 1);
    EXPECT_EQ(budget.bytes(false), MigrationBudget::inside_nodes);
    EXPECT_EQ(budget.reason(), "5 % of the 125 MB/s that leave a node, in steps of 80 ms, shared by 2 ranks");
    for (int step = 4; step < 64; ++step) budget.step_done(communicator, 0.04 + more);
    EXPECT_NEAR(static_cast<double>(budget.bytes()), 125'000, 1);
  });
}

}  // namespace
}  // namespace moewe
