#include "placement/split.hpp"

#include <array>
#include <gtest/gtest.h>
#include <numeric>

#include "comm/error.hpp"
#include "placement/source_split.hpp"
#include "tests/placement/random_cases.hpp"

namespace moewe {
namespace {

using Loads = std::vector<std::int64_t>;

/// Whether shares add up to the loads, and to the rank loads.
void expect_conserved(const Placement& placement, const Loads& loads, const Split& split) {
  ASSERT_EQ(split.shares.size(), placement.num_slots());
  Loads ranks(placement.num_ranks(), 0);
  std::size_t next = 0;
  for (std::size_t e = 0; e < loads.size(); ++e) {
    std::int64_t sum = 0;
    for (const Slot& slot : placement.slots_of(expert_at(e))) {
      EXPECT_GE(split.shares[next], 0);
      sum += split.shares[next];
      ranks[index(slot.rank)] += split.shares[next++];
    }
    EXPECT_EQ(sum, loads[e]);
  }
  EXPECT_EQ(split.rank_loads, ranks);
  EXPECT_EQ(split.largest, *std::max_element(ranks.begin(), ranks.end()));
}

/// Experts that lie on the hot ranks alone load them so much that none can have less than `largest`.
void expect_proved(const Placement& placement, const Loads& loads, const Split& split) {
  ASSERT_FALSE(split.hot_ranks.empty());
  EXPECT_TRUE(std::is_sorted(split.hot_ranks.begin(), split.hot_ranks.end()));
  std::int64_t inside = 0;
  for (std::size_t e = 0; e < loads.size(); ++e) {
    const auto slots = placement.slots_of(expert_at(e));
    const bool is_inside = std::all_of(slots.begin(), slots.end(), [&](const Slot& slot) {
      return std::binary_search(split.hot_ranks.begin(), split.hot_ranks.end(), slot.rank);
    });
    if (is_inside) inside += loads[e];
  }
  const auto size = static_cast<std::int64_t>(split.hot_ranks.size());
  EXPECT_EQ((inside + size - 1) / size, split.largest);
}

TEST(Split, ReachesTheLeastThatAnySetOfRanksAllowsAndProvesIt) {
  test::RandomCases cases(1);
  for (int i = 0; i < 1500; ++i) {
    const test::PlacementCase c = cases.next();
    SCOPED_TRACE(c.name());
    const Placement placement = cases.placement(c);
    const Split split = split_loads(placement, c.loads);
    expect_conserved(placement, c.loads, split);
    expect_proved(placement, c.loads, split);
    EXPECT_EQ(split.largest, test::least_largest(placement, c.loads));
  }
}

TEST(Split, IsTheSameWhateverWasSplitBefore) {
  test::RandomCases cases(2);
  for (int i = 0; i < 100; ++i) {
    const test::PlacementCase c = cases.next();
    const Placement placement = cases.placement(c);
    Splitter splitter(placement);
    for (int before = 0; before < 3; ++before) splitter.split(cases.loads(c.loads.size(), 1000));
    const Split expected = split_loads(placement, c.loads);
    const Split& again = splitter.split(c.loads);
    EXPECT_EQ(again.shares, expected.shares);
    EXPECT_EQ(again.hot_ranks, expected.hot_ranks);
    EXPECT_EQ(splitter.largest(c.loads), expected.largest);
  }
}

TEST(Split, LeavesPreferredSharesWhereNoRankIsOverloaded) {
  const Placement placement(0, 2, {{ExpertId{0}, ExpertId{1}}, {ExpertId{0}, ExpertId{1}}});
  Splitter splitter(placement);
  const Loads loads{10, 10};
  EXPECT_EQ(splitter.split_near(loads, Loads{7, 3, 3, 7}).shares, (Loads{7, 3, 3, 7}));
  EXPECT_EQ(splitter.split_near(loads, Loads{0, 10, 10, 0}).shares, (Loads{0, 10, 10, 0}));
  EXPECT_EQ(splitter.split_near(loads, Loads{0, 10, 0, 10}).largest, 10);
  const Split& rest = splitter.split_near(loads, Loads{7, 3, 0, 0});
  expect_conserved(placement, loads, rest);
  EXPECT_EQ(rest.shares, (Loads{7, 3, 3, 7}));
}

TEST(Split, RefusesLoadsThatAreNone) {
  const Placement placement(0, 2, {{ExpertId{0}, ExpertId{1}}});
  EXPECT_THROW(split_loads(placement, Loads{1}), InvalidInput);
  EXPECT_THROW(split_loads(placement, Loads{1, -1}), InvalidInput);
  EXPECT_THROW(split_loads(placement, Loads{max_total_load, 1}), InvalidInput);
  EXPECT_EQ(split_loads(placement, Loads{max_total_load, 0}).largest, max_total_load);
}

TEST(ScaleShares, RoundsByLargestRemainder) {
  EXPECT_EQ(scale_shares(Loads{1, 1, 1}, 4), (Loads{2, 1, 1}));
  EXPECT_EQ(scale_shares(Loads{0, 0}, 3), (Loads{2, 1}));
  EXPECT_EQ(scale_shares(Loads{10, 30, 60}, 9), (Loads{1, 3, 5}));
  EXPECT_EQ(scale_shares(Loads{5}, 0), (Loads{0}));
  EXPECT_EQ(scale_shares(Loads{max_total_load / 2, max_total_load / 2}, max_total_load),
            (Loads{max_total_load / 2, max_total_load / 2}));
  test::RandomCases cases(3);
  for (int i = 0; i < 500; ++i) {
    const Loads shares = cases.loads(cases.number(1, 8), 1'000'000'000);
    const auto load = static_cast<std::int64_t>(cases.number(0, 1'000'000'000));
    const Loads scaled = scale_shares(shares, load);
    EXPECT_EQ(std::accumulate(scaled.begin(), scaled.end(), std::int64_t{0}), load);
    const auto total =
        static_cast<long double>(std::accumulate(shares.begin(), shares.end(), std::int64_t{0}));
    for (std::size_t s = 0; s < shares.size() && total > 0; ++s) {
      const long double exact = static_cast<long double>(shares[s]) * static_cast<long double>(load) / total;
      EXPECT_LT(std::abs(static_cast<long double>(scaled[s]) - exact), 1.0L);
    }
  }
}

/// From evenly spread starts, each gets its part, rounded; and over all of them exactly its part.
TEST(DealShares, DealsEachItsPartInTheMean) {
  EXPECT_EQ(deal_shares(Loads{12, 4}, 16, max_total_load - 1), (Loads{12, 4}));
  EXPECT_EQ(deal_shares(Loads{0, 0}, 2, 5), (Loads{1, 1}));
  EXPECT_EQ(deal_shares(Loads{max_total_load - 1, 1}, max_total_load, 77), (Loads{max_total_load - 1, 1}));
  test::RandomCases cases(4);
  for (int i = 0; i < 50; ++i) {
    const Loads shares = cases.loads(cases.number(1, 8), 1000);
    const std::int64_t total = std::accumulate(shares.begin(), shares.end(), std::int64_t{0});
    const auto load = static_cast<std::int64_t>(cases.number(0, 40));
    if (total == 0) continue;
    constexpr int num_starts = 1024;
    std::vector<double> sums(shares.size(), 0);
    for (int start = 0; start < num_starts; ++start) {
      const Loads dealt = deal_shares(shares, load, start * (max_total_load / num_starts));
      EXPECT_EQ(std::accumulate(dealt.begin(), dealt.end(), std::int64_t{0}), load);
      for (std::size_t s = 0; s < shares.size(); ++s) {
        const std::int64_t whole = shares[s] * load / total;
        EXPECT_GE(dealt[s], whole);
        EXPECT_LE(dealt[s] * total, shares[s] * load + total - 1);
        sums[s] += static_cast<double>(dealt[s]);
      }
    }
    for (std::size_t s = 0; s < shares.size(); ++s) {
      const double part = static_cast<double>(shares[s] * load) / static_cast<double>(total);
      EXPECT_NEAR(sums[s] / num_starts, part, 2.0 / num_starts + 1.0 / static_cast<double>(total));
    }
  }
}

TEST(ServedInOrder, ServesTheFirstAssignmentsInTheFirstSlots) {
  const Loads shares{2, 0, 1, 3};
  const std::vector<std::size_t> slot_of{0, 0, 2, 3, 3, 3};
  for (std::size_t first = 0; first <= slot_of.size(); ++first) {
    Loads expected(shares.size(), 0);
    for (std::size_t end = first; end <= slot_of.size(); ++end) {
      EXPECT_EQ(
          served_in_order(shares, static_cast<std::int64_t>(first), static_cast<std::int64_t>(end - first)),
          expected);
      if (end < slot_of.size()) ++expected[slot_of[end]];
    }
  }
}

TEST(SplitDigest, DependsOnPlacementAndShares) {
  const Placement placement(0, 1, {{ExpertId{0}}, {ExpertId{0}}});
  const Placement next(1, 1, {{ExpertId{0}}, {ExpertId{0}}});
  EXPECT_EQ(split_digest(placement, Loads{1, 2}), split_digest(placement, Loads{1, 2}));
  EXPECT_NE(split_digest(placement, Loads{1, 2}), split_digest(placement, Loads{2, 1}));
  EXPECT_NE(split_digest(placement, Loads{1, 2}), split_digest(next, Loads{1, 2}));
}

TEST(SourceSplit, ServesEverySourceWithTheLargestLoadOfAnySplit) {
  test::RandomCases cases(4);
  for (int i = 0; i < 500; ++i) {
    const test::PlacementCase c = cases.next();
    SCOPED_TRACE(c.name());
    const Placement placement = cases.placement(c);
    const std::size_t ranks = placement.num_ranks();
    const std::size_t experts = placement.num_experts();
    const Loads counts = cases.loads(ranks * experts, 500);
    Loads loads(experts, 0);
    for (std::size_t at = 0; at < counts.size(); ++at) loads[at % experts] += counts[at];
    const SourceSplit result = split_by_source(placement, c.space.topology, counts);
    expect_conserved(placement, loads, result.split);
    EXPECT_EQ(result.split.largest, split_loads(placement, loads).largest);
    Loads served(placement.num_slots(), 0);
    for (std::size_t source = 0; source < ranks; ++source) {
      const auto quotas = result.quotas_of(rank_at(source));
      std::size_t slot = 0;
      for (std::size_t e = 0; e < experts; ++e) {
        std::int64_t sum = 0;
        for (std::size_t copy = 0; copy < placement.slots_of(expert_at(e)).size(); ++copy, ++slot) {
          EXPECT_GE(quotas[slot], 0);
          sum += quotas[slot];
          served[slot] += quotas[slot];
        }
        EXPECT_EQ(sum, counts[source * experts + e]);
      }
    }
    EXPECT_EQ(served, result.split.shares);
  }
}

TEST(SourceSplit, KeepsAssignmentsOnTheirRankThenOnTheirNode) {
  const Topology topology({7, 7, 9, 9});
  // expert 0 on ranks 0 and 2, expert 1 on ranks 1 and 3
  const Placement placement(0, 2, {{ExpertId{0}}, {ExpertId{1}}, {ExpertId{0}}, {ExpertId{1}}});
  const Loads counts{5, 5, 5, 5, 5, 5, 5, 5};
  const SourceSplit result = split_by_source(placement, topology, counts);
  EXPECT_EQ(result.split.shares, (Loads{10, 10, 10, 10}));
  EXPECT_EQ(result.on_own_rank, 20);
  EXPECT_EQ(result.on_own_node, 40);
  const auto quotas = result.quotas_of(Rank{1});
  EXPECT_EQ(Loads(quotas.begin(), quotas.end()), (Loads{5, 0, 5, 0}));
  // all of expert 0 comes from rank 0: half has to leave, and nothing of it can stay on the node
  const SourceSplit skewed = split_by_source(placement, topology, Loads{20, 0, 0, 0, 0, 0, 0, 0});
  EXPECT_EQ(skewed.split.shares, (Loads{10, 10, 0, 0}));
  EXPECT_EQ(skewed.on_own_rank, 10);
  EXPECT_EQ(skewed.on_own_node, 10);
}

TEST(SourceSplit, RefusesCountsOfOtherRanks) {
  const Placement placement(0, 1, {{ExpertId{0}}, {ExpertId{0}}});
  EXPECT_THROW(split_by_source(placement, Topology::one_node(3), Loads{1, 1}), InvalidInput);
  EXPECT_THROW(split_by_source(placement, Topology::one_node(2), Loads{1}), InvalidInput);
  EXPECT_THROW(split_by_source(placement, Topology::one_node(2), Loads{1, -1}), InvalidInput);
  EXPECT_EQ(split_by_source(placement, Topology::one_node(2), Loads{1, 1}).split.largest, 1);
}

}  // namespace
}  // namespace moewe
