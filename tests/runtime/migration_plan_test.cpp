#include "runtime/migration_plan.hpp"

#include <algorithm>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <set>

namespace moewe {
namespace {

/// Random slots, replicas among them, also of one expert on one rank.
Placement random_placement(std::uint64_t epoch, std::size_t num_experts, std::size_t num_ranks,
                           std::mt19937_64& random) {
  std::vector<std::vector<ExpertId>> experts_of_rank(num_ranks);
  const std::size_t num_slots = num_experts + random() % (num_experts + 1);
  for (std::size_t slot = 0; slot < num_slots; ++slot) {
    const std::size_t expert = slot < num_experts ? slot : random() % num_experts;
    experts_of_rank[random() % num_ranks].push_back(expert_at(expert));
  }
  for (auto& experts : experts_of_rank) std::shuffle(experts.begin(), experts.end(), random);
  return {epoch, num_experts, std::move(experts_of_rank)};
}

bool holds(const Placement& placement, Rank rank, ExpertId expert) {
  const auto experts = placement.experts_of(rank);
  return std::find(experts.begin(), experts.end(), expert) != experts.end();
}

bool near_one_holds(const Placement& placement, const Topology& topology, Rank rank, ExpertId expert) {
  const auto near = topology.node_ranks(rank);
  return std::any_of(near.begin(), near.end(), [&](Rank r) { return holds(placement, r, expert); });
}

struct Case {
  Placement now;
  Placement next;
  Topology topology;
};

std::vector<Case> random_cases() {
  std::vector<Case> cases;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    std::mt19937_64 random(seed);
    const std::size_t num_ranks = 1 + random() % 9, num_experts = 1 + random() % 20;
    std::vector<std::uint64_t> nodes(num_ranks);
    for (auto& node : nodes) node = random() % 3;
    cases.push_back({random_placement(7, num_experts, num_ranks, random),
                     random_placement(9, num_experts, num_ranks, random), Topology(nodes)});
  }
  return cases;
}

TEST(MigrationPlan, BringsEveryRankWhatItLacksAndNothingElse) {
  for (const Case& c : random_cases()) {
    const MigrationPlan plan = plan_migration(c.now, c.next, c.topology);
    std::multiset<std::pair<Rank, ExpertId>> expected, moved;
    for (std::size_t rank = 0; rank < c.next.num_ranks(); ++rank) {
      std::set<ExpertId> wanted(c.next.experts_of(rank_at(rank)).begin(),
                                c.next.experts_of(rank_at(rank)).end());
      for (const ExpertId expert : wanted)
        if (!holds(c.now, rank_at(rank), expert)) expected.emplace(rank_at(rank), expert);
      EXPECT_EQ(num_distinct_experts(c.next, rank_at(rank)), wanted.size());
    }
    for (const Move& move : plan.moves) {
      moved.emplace(move.to, move.expert);
      EXPECT_TRUE(holds(c.now, move.from, move.expert));
      EXPECT_EQ(c.next.experts_of(move.to)[move.position], move.expert);
    }
    EXPECT_EQ(moved, expected);
    EXPECT_EQ(plan.from_epoch, 7U);
    EXPECT_EQ(plan.to_epoch, 9U);
  }
}

TEST(MigrationPlan, TakesExpertsFromTheNodeWhereItCan) {
  std::size_t num_near = 0;
  for (const Case& c : random_cases()) {
    for (const Move& move : plan_migration(c.now, c.next, c.topology).moves) {
      const bool could = near_one_holds(c.now, c.topology, move.to, move.expert);
      EXPECT_EQ(c.topology.share_node(move.from, move.to), could);
      num_near += could ? 1 : 0;
    }
  }
  EXPECT_GT(num_near, 100U);
}

TEST(MigrationPlan, PairsRanksInAsFewRoundsAsTheBusiestNeeds) {
  for (const Case& c : random_cases()) {
    const MigrationPlan plan = plan_migration(c.now, c.next, c.topology);
    std::map<Rank, std::size_t> sent, received;
    std::set<std::pair<Rank, std::size_t>> sends, receives;
    std::size_t busiest = 0;
    for (const Move& move : plan.moves) {
      busiest = std::max({busiest, ++sent[move.from], ++received[move.to]});
      EXPECT_TRUE(sends.emplace(move.from, move.round).second);
      EXPECT_TRUE(receives.emplace(move.to, move.round).second);
      EXPECT_LT(move.round, plan.num_rounds);
      EXPECT_EQ(plan.sent_by(move.from, move.round), &move);
      EXPECT_EQ(plan.received_by(move.to, move.round), &move);
    }
    EXPECT_EQ(plan.num_rounds, busiest);
    for (const auto& [rank, count] : received) EXPECT_EQ(plan.num_received_by(rank), count);
    EXPECT_EQ(plan.sent_by(Rank{0}, plan.num_rounds), nullptr);
  }
}

/// Four ranks hold expert 0, and four others want it.
TEST(MigrationPlan, SpreadsSendsOverThoseWhoHoldAnExpert) {
  std::vector<std::vector<ExpertId>> now(8), next(8);
  for (std::size_t rank = 0; rank < 8; ++rank) {
    now[rank].push_back(expert_at(rank < 4 ? 0 : 1));
    next[rank].push_back(expert_at(rank < 4 ? 1 : 0));
  }
  const MigrationPlan plan =
      plan_migration(Placement(0, 2, now), Placement(1, 2, next), Topology::one_node(8));
  EXPECT_EQ(plan.moves.size(), 8U);
  EXPECT_EQ(plan.num_rounds, 1U);
}

TEST(MigrationPlan, OfTheSamePlacementMovesNothingWhateverTheOrderOfSlots) {
  const std::vector<ExpertId> forth{ExpertId{0}, ExpertId{1}, ExpertId{2}},
      back{forth.rbegin(), forth.rend()};
  const MigrationPlan plan =
      plan_migration(Placement(0, 3, {forth, {}}), Placement(1, 3, {back, {}}), Topology::one_node(2));
  EXPECT_TRUE(plan.moves.empty());
  EXPECT_EQ(plan.num_rounds, 0U);
}

TEST(MigrationPlan, HasADigestThatTellsPlansApart) {
  std::set<std::uint64_t> digests;
  const std::vector<Case> cases = random_cases();
  for (const Case& c : cases) {
    const std::uint64_t digest = plan_migration(c.now, c.next, c.topology).digest();
    EXPECT_EQ(digest, plan_migration(c.now, c.next, c.topology).digest());
    digests.insert(digest);
  }
  EXPECT_GT(digests.size(), cases.size() * 3 / 4) << "but for those that move nothing";
  MigrationPlan plan = plan_migration(cases[5].now, cases[5].next, cases[5].topology);
  const std::uint64_t digest = plan.digest();
  ++plan.to_epoch;
  EXPECT_NE(plan.digest(), digest);
}

}  // namespace
}  // namespace moewe
