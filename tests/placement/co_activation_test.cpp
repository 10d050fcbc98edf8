#include "placement/co_activation.hpp"

#include <algorithm>
#include <gtest/gtest.h>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "comm/error.hpp"
#include "placement/plan_affinity.hpp"
#include "placement/speeds.hpp"
#include "placement/split.hpp"
#include "placement/token_reach.hpp"
#include "tests/placement/random_cases.hpp"

namespace moewe {
namespace {

using Loads = std::vector<std::int64_t>;
using Ids = std::vector<ExpertId>;

/// Choices of tokens: of one block of experts each but for some, or of any where there is one block. Which
/// experts make up a block is drawn.
class Router {
 public:
  Router(std::size_t num_experts, std::size_t num_blocks, std::uint32_t seed)
      : random_(seed), experts_(num_experts), num_blocks_(num_blocks) {
    std::iota(experts_.begin(), experts_.end(), std::size_t{0});
    std::shuffle(experts_.begin(), experts_.end(), random_);
  }

  Ids draw(std::size_t tokens, std::size_t top_k, std::size_t percent_elsewhere = 0) {
    const std::size_t size = experts_.size() / num_blocks_;
    Ids ids;
    for (std::size_t token = 0; token < tokens; ++token) {
      const std::size_t block = random_() % num_blocks_;
      std::set<std::size_t> chosen;
      while (chosen.size() < top_k) {
        const bool is_elsewhere = random_() % 100 < percent_elsewhere;
        chosen.insert(experts_[is_elsewhere ? random_() % experts_.size() : block * size + random_() % size]);
      }
      for (const std::size_t e : chosen) ids.push_back(expert_at(e));
    }
    return ids;
  }

 private:
  std::mt19937 random_;
  std::vector<std::size_t> experts_;
  std::size_t num_blocks_;
};

Loads loads_of(const Ids& ids, std::size_t num_experts) {
  Loads loads(num_experts, 0);
  for (const ExpertId id : ids) ++loads[index(id)];
  return loads;
}

CoActivation pairs_of(const Ids& ids, std::size_t num_experts, std::size_t top_k) {
  CoActivation pairs(num_experts);
  pairs.add(ids, top_k);
  return pairs;
}

double nodes_per_token(const Placement& placement, const Topology& topology, const Ids& ids,
                       std::size_t top_k) {
  const TokenReach reach = count_reach(placement, topology, ids, top_k);
  return static_cast<double>(reach.nodes) / static_cast<double>(reach.tokens);
}

double ranks_per_token(const Placement& placement, const Topology& topology, const Ids& ids,
                       std::size_t top_k) {
  const TokenReach reach = count_reach(placement, topology, ids, top_k);
  return static_cast<double>(reach.ranks) / static_cast<double>(reach.tokens);
}

Topology nodes_of(std::size_t nodes, std::size_t ranks_each) {
  std::vector<std::uint64_t> labels;
  for (std::size_t rank = 0; rank < nodes * ranks_each; ++rank) labels.push_back(rank / ranks_each);
  return Topology(labels);
}

TEST(CoActivation, CountsEachTwoExpertsOfAToken) {
  Router router(12, 1, 1);
  const Ids ids = router.draw(300, 4);
  std::map<std::pair<std::size_t, std::size_t>, std::int64_t> wanted;
  for (std::size_t token = 0; token < 300; ++token) {
    for (std::size_t i = 0; i < 4; ++i)
      for (std::size_t j = 0; j < 4; ++j)
        if (i != j) ++wanted[{index(ids[4 * token + i]), index(ids[4 * token + j])}];
  }
  CoActivation pairs(12);
  pairs.add(std::span(ids).first(400), 4);
  pairs.add(std::span(ids).subspan(400), 4);
  for (std::size_t a = 0; a < 12; ++a)
    for (std::size_t b = 0; b < 12; ++b) EXPECT_EQ(pairs.of(a, b), (wanted[{a, b}]));
}

TEST(CoActivation, RefusesWhatIsNoChoice) {
  CoActivation pairs(4);
  EXPECT_THROW(pairs.add(Ids{expert_at(0), expert_at(4)}, 2), InvalidInput);
  EXPECT_THROW(pairs.add(Ids{expert_at(0), ExpertId{-1}}, 2), InvalidInput);
  EXPECT_THROW(pairs.add(Ids{expert_at(0), expert_at(1), expert_at(2)}, 2), InvalidInput);
  EXPECT_THROW(pairs.add(Ids{}, 0), InvalidInput);
  EXPECT_EQ(pairs.of(0, 1), 0);
  EXPECT_THROW(CoActivation(CoActivation::max_experts + 1), InvalidInput);
}

TEST(TokenReach, CountsNodesAndRanksOfEachToken) {
  const Topology topology({0, 0, 1});
  const Placement placement(0, 4, {{expert_at(0), expert_at(1)}, {expert_at(2)}, {expert_at(3)}});
  const Ids ids{expert_at(0), expert_at(1), expert_at(0), expert_at(2), expert_at(1), expert_at(3)};
  const TokenReach reach = count_reach(placement, topology, ids, 2);
  EXPECT_EQ(reach.tokens, 3);
  EXPECT_EQ(reach.ranks, 1 + 2 + 2);
  EXPECT_EQ(reach.nodes, 1 + 1 + 2);
}

TEST(TokenReach, LetsReplicasServeWhatTheSplitGivesThem) {
  const Topology topology({0, 1});
  const Placement placement(0, 2, {{expert_at(0), expert_at(1)}, {expert_at(1)}});
  const Ids ids{expert_at(0), expert_at(1), expert_at(0), expert_at(1), expert_at(0), expert_at(1)};
  // Of expert 1's three assignments rank 0 gets none: it has three of expert 0.
  EXPECT_EQ(count_reach(placement, topology, ids, 2).nodes, 6);
  const Ids alone{expert_at(1), expert_at(1), expert_at(1), expert_at(1)};
  EXPECT_EQ(count_reach(placement, topology, alone, 1).nodes, 4);
  EXPECT_THROW(count_reach(placement, topology, ids, 4), InvalidInput);
  EXPECT_THROW(count_reach(placement, Topology::one_node(3), ids, 2), InvalidInput);
}

TEST(Affinity, FindsExpertsThatAreChosenTogether) {
  constexpr std::size_t experts = 32;
  const SlotSpace space = SlotSpace::equal(nodes_of(4, 2), 4);
  for (std::uint32_t seed = 0; seed < 10; ++seed) {
    Router router(experts, 4, seed);
    const Ids ids = router.draw(4000, 4);
    const Loads loads = loads_of(ids, experts);
    const Placement plan = plan_placement(loads, space);
    const CoActivation pairs = pairs_of(ids, experts, 4);
    const Placement found = bring_together(plan, space.topology, loads, pairs, {.target = 1'100'000});
    EXPECT_GT(nodes_per_token(plan, space.topology, ids, 4), 2.2);
    EXPECT_LE(nodes_per_token(found, space.topology, ids, 4), 1.2) << seed;
    EXPECT_LE(imbalance(split_loads(found, loads).rank_loads), 1.1);
  }
}

TEST(Affinity, HoldsForTokensToComeAndWithReplicas) {
  constexpr std::size_t experts = 64;
  const SlotSpace space = SlotSpace::equal(nodes_of(4, 4), 5);
  for (std::uint32_t seed = 0; seed < 5; ++seed) {
    Router router(experts, 8, seed);
    const Ids ids = router.draw(6000, 6, 20);
    const Ids later = router.draw(2000, 6, 20);
    const Loads loads = loads_of(ids, experts);
    const Placement plan = plan_placement(loads, space);
    const CoActivation pairs = pairs_of(ids, experts, 6);
    const Placement found = bring_together(plan, space.topology, loads, pairs);
    EXPECT_LE(nodes_per_token(found, space.topology, later, 6),
              0.85 * nodes_per_token(plan, space.topology, later, 6));
    EXPECT_LE(imbalance(split_loads(found, loads).rank_loads), 1.0201);
    EXPECT_EQ(count_duplicates(found), 0U);
  }
}

TEST(Affinity, BringsThemToOneRankWhereThereIsOneNode) {
  constexpr std::size_t experts = 16;
  const SlotSpace space = SlotSpace::equal(Topology::one_node(4), 4);
  Router router(experts, 4, 3);
  const Ids ids = router.draw(4000, 3);
  const Loads loads = loads_of(ids, experts);
  const Placement plan = plan_placement(loads, space);
  const Placement found =
      bring_together(plan, space.topology, loads, pairs_of(ids, experts, 3), {.target = 1'100'000});
  EXPECT_LE(ranks_per_token(found, space.topology, ids, 3), 1.2);
  EXPECT_GE(ranks_per_token(plan, space.topology, ids, 3), 1.7);
}

TEST(Affinity, KeepsBalanceAndSlotsWhateverItIsGiven) {
  test::RandomCases cases(41);
  for (int i = 0; i < 500; ++i) {
    const test::PlacementCase c = cases.next();
    SCOPED_TRACE(c.name());
    const std::size_t experts = c.loads.size();
    Router router(experts, 1, static_cast<std::uint32_t>(i));
    const std::size_t top_k = cases.number(1, std::min<std::size_t>(experts, 4));
    const Ids ids = router.draw(cases.number(0, 300), top_k);
    const Loads loads = loads_of(ids, experts);
    std::vector<Millionths> slowness;
    if (cases.number(0, 1) == 0)
      for (std::size_t rank = 0; rank < c.space.slots_per_rank.size(); ++rank)
        slowness.push_back(static_cast<Millionths>(cases.number(500'000, 2'000'000)));
    const RankSpeeds speeds(slowness, c.space.slots_per_rank.size());
    const Placement plan = plan_placement(loads, c.space);
    const CoActivation pairs = pairs_of(ids, experts, top_k);
    const AffinityOptions options{.target = 1'050'000, .slowness = slowness};
    const Placement found = bring_together(plan, c.space.topology, loads, pairs, options);
    const auto total = static_cast<std::int64_t>(ids.size());
    EXPECT_LE(least_time(found, loads, speeds),
              std::max(least_time(plan, loads, speeds), speeds.allowed_time(total, options.target)));
    EXPECT_EQ(count_duplicates(found), 0U);
    EXPECT_EQ(found.epoch(), plan.epoch());
    for (std::size_t rank = 0; rank < plan.num_ranks(); ++rank)
      EXPECT_EQ(found.experts_of(rank_at(rank)).size(), plan.experts_of(rank_at(rank)).size());
    for (std::size_t e = 0; e < experts; ++e) {
      const auto before = plan.slots_of(expert_at(e));
      const auto after = found.slots_of(expert_at(e));
      ASSERT_EQ(before.size(), after.size());
      if (before.size() > 1) {
        EXPECT_TRUE(std::equal(before.begin(), before.end(), after.begin()));
      }
    }
    EXPECT_EQ(found.digest(), bring_together(plan, c.space.topology, loads, pairs, options).digest());
  }
}

TEST(Affinity, LeavesEverythingWhereNothingIsChosenTogether) {
  test::RandomCases cases(42);
  for (int i = 0; i < 50; ++i) {
    const test::PlacementCase c = cases.next();
    const Placement plan = plan_placement(c.loads, c.space);
    const CoActivation none(c.loads.size());
    EXPECT_EQ(bring_together(plan, c.space.topology, c.loads, none).digest(), plan.digest());
  }
}

TEST(Affinity, RefusesWhatDoesNotFitTogether) {
  const Placement plan = contiguous_placement(4, 2);
  const Loads loads{1, 1, 1, 1};
  EXPECT_THROW(bring_together(plan, Topology::one_node(3), loads, CoActivation(4)), InvalidInput);
  EXPECT_THROW(bring_together(plan, Topology::one_node(2), loads, CoActivation(3)), InvalidInput);
  EXPECT_THROW(bring_together(plan, Topology::one_node(2), Loads{1}, CoActivation(4)), InvalidInput);
}

}  // namespace
}  // namespace moewe
