#include "placement/time_cost.hpp"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <numeric>
#include <random>

#include "comm/error.hpp"
#include "placement/split.hpp"
#include "tests/placement/random_cases.hpp"

namespace moewe {
namespace {

using Counts = std::vector<std::int64_t>;

struct Step {
  test::PlacementCase space;
  Placement placement;
  Counts counts;  // [sources][experts]
  SourceSplit split;
};

Step next_step(test::RandomCases& cases) {
  const test::PlacementCase c = cases.next();
  const Placement placement = cases.placement(c);
  const Counts counts = cases.loads(placement.num_ranks() * placement.num_experts(), 60);
  return {c, placement, counts, split_by_source(placement, c.space.topology, counts)};
}

CostCoefficients random_coefficients(test::RandomCases& cases, std::size_t num_ranks) {
  const auto time = [&] { return static_cast<Picoseconds>(cases.number(0, 1000)); };
  CostCoefficients c;
  c.top_k = static_cast<std::int64_t>(cases.number(1, 8));
  c.tile_rows = static_cast<std::int64_t>(cases.number(1, 16));
  c.row = time();
  c.weight_read = 10 * time();
  c.expert = time();
  c.inside_nodes = {time(), time()};
  c.between_nodes = {time(), time()};
  c.returns_sums = cases.number(0, 1) == 1;
  for (std::size_t rank = 0; rank < num_ranks && cases.number(0, 2) > 0; ++rank)
    c.slowness.push_back(static_cast<Millionths>(cases.number(500'000, 2'000'000)));
  if (c.slowness.size() != num_ranks) c.slowness.clear();
  return c;
}

/// What `source` takes of each expert on `rank`.
Counts taken(const Step& step, std::size_t source, std::size_t rank) {
  Counts result;
  std::size_t slot = source * step.placement.num_slots();
  for (std::size_t e = 0; e < step.placement.num_experts(); ++e) {
    std::int64_t sum = 0;
    for (const Slot& at : step.placement.slots_of(expert_at(e)))
      sum += index(at.rank) == rank ? step.split.quotas[slot++] : 0 * step.split.quotas[slot++];
    result.push_back(sum);
  }
  return result;
}

std::int64_t sum_of(const Counts& counts) {
  return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}

std::int64_t tokens_of(const Step& step, std::size_t source, std::int64_t top_k) {
  const std::size_t experts = step.placement.num_experts();
  const auto first = step.counts.begin() + static_cast<std::ptrdiff_t>(source * experts);
  return (std::accumulate(first, first + static_cast<std::ptrdiff_t>(experts), std::int64_t{0}) + top_k - 1) /
         top_k;
}

Picoseconds compute_of(const Step& step, std::size_t rank, const CostCoefficients& c) {
  Counts rows(step.placement.num_experts(), 0);
  for (std::size_t source = 0; source < step.placement.num_ranks(); ++source) {
    const Counts more = taken(step, source, rank);
    for (std::size_t e = 0; e < rows.size(); ++e) rows[e] += more[e];
  }
  Picoseconds sum = 0;
  for (const std::int64_t of_expert : rows) {
    const std::int64_t tiles = (of_expert + c.tile_rows - 1) / c.tile_rows;
    if (of_expert > 0) sum += std::max(c.weight_read, tiles * c.tile_rows * c.row) + c.expert;
  }
  return c.slowness.empty() ? sum : sum * c.slowness[rank] / 1'000'000;
}

Picoseconds link_time(const Step& step, std::size_t rank, const CostCoefficients& c, bool inside) {
  std::int64_t rows[2] = {0, 0};
  std::int64_t assignments[2] = {0, 0};
  const Topology& topology = step.space.space.topology;
  for (std::size_t other = 0; other < step.placement.num_ranks(); ++other) {
    if (other == rank || topology.share_node(rank_at(rank), rank_at(other)) != inside) continue;
    const Counts in = taken(step, other, rank);
    const Counts out = taken(step, rank, other);
    rows[0] += expected_tokens(tokens_of(step, other, c.top_k), in);
    rows[1] += expected_tokens(tokens_of(step, rank, c.top_k), out);
    assignments[0] += sum_of(in);
    assignments[1] += sum_of(out);
  }
  const RowTimes& times = inside ? c.inside_nodes : c.between_nodes;
  const std::int64_t most = std::max(rows[0], rows[1]);
  return most * times.dispatch / token_parts + (c.returns_sums
                                                    ? most * times.back / token_parts
                                                    : std::max(assignments[0], assignments[1]) * times.back);
}

TEST(LayerTime, IsWhatAPlainAccountOfEveryRankSays) {
  test::RandomCases cases(1);
  for (int round = 0; round < 300; ++round) {
    const Step step = next_step(cases);
    const CostCoefficients c = random_coefficients(cases, step.placement.num_ranks());
    const LayerTime time = layer_time(step.placement, step.space.space.topology, step.split, c);
    ASSERT_EQ(time.of_rank.size(), step.placement.num_ranks());
    Picoseconds longest = 0;
    for (std::size_t rank = 0; rank < time.of_rank.size(); ++rank) {
      EXPECT_EQ(time.of_rank[rank].compute, compute_of(step, rank, c)) << step.space.name();
      EXPECT_EQ(time.of_rank[rank].inside_nodes, link_time(step, rank, c, true)) << step.space.name();
      EXPECT_EQ(time.of_rank[rank].between_nodes, link_time(step, rank, c, false)) << step.space.name();
      longest = std::max(longest, time.of_rank[rank].total());
    }
    EXPECT_EQ(time.longest, longest);
  }
}

TEST(LayerTime, OrdersPlacementsByTheirLargestRankLoadWhereRowsAreAllThatCosts) {
  test::RandomCases cases(2);
  CostCoefficients c;
  c.row = 7;
  for (int round = 0; round < 200; ++round) {
    const Step step = next_step(cases);
    const Counts loads = step.space.loads;
    for (const Placement& placement : {step.placement, cases.placement(step.space)}) {
      const Counts counts = spread_over_sources(loads, placement.num_ranks());
      const SourceSplit split = split_by_source(placement, step.space.space.topology, counts);
      EXPECT_EQ(layer_time(placement, step.space.space.topology, split, c).longest,
                7 * Splitter(placement).largest(loads));
    }
  }
}

/// Two nodes with a rank each.
struct SmallCase {
  Topology topology = Topology(std::vector<std::uint64_t>{0, 1});
  Placement placement{0, 3, {{expert_at(0)}, {expert_at(1), expert_at(2)}}};
  Counts counts{2, 2, 2, 1, 0, 0};  // three tokens and, not quite, one
  SourceSplit split = split_by_source(placement, topology, counts);
};

TEST(LayerTime, CountsATokenOncePerRankAndReturnsEveryAssignmentOrOneSum) {
  const SmallCase s;
  CostCoefficients c;
  c.top_k = 2;
  c.row = 0;
  c.between_nodes = {1000, 10};
  // 3 (1 - 1/3 1/3) = 2.67 tokens of rank 0 are expected to take expert 1 or 2.
  const LayerTime rows = layer_time(s.placement, s.topology, s.split, c);
  EXPECT_EQ(rows.of_rank[0].between_nodes, 2666 + 4 * 10);
  EXPECT_EQ(rows.of_rank[1].between_nodes, 2666 + 4 * 10);
  EXPECT_EQ(rows.of_rank[0].inside_nodes, 0);
  EXPECT_EQ(rows.num_tokens, 4);
  EXPECT_EQ(rows.node_visits, (2 + 1) * token_parts + 2731);
  c.returns_sums = true;
  EXPECT_EQ(layer_time(s.placement, s.topology, s.split, c).longest, 2666 + 26);
}

TEST(LayerTime, KnowsThatACopyHasToBeRead) {
  const Topology topology = Topology::one_node(2);
  const Placement apart(0, 2, {{expert_at(0)}, {expert_at(1)}});
  const Placement copied(0, 2, {{expert_at(0), expert_at(1)}, {expert_at(1), expert_at(0)}});
  CostCoefficients c;
  const auto longest = [&](const Placement& placement) {
    const Counts counts{6, 4, 6, 4};
    return layer_time(placement, topology, split_by_source(placement, topology, counts), c).longest;
  };
  EXPECT_LT(longest(copied), longest(apart));
  c.weight_read = 100;
  EXPECT_GT(longest(copied), longest(apart));
}

TEST(LayerTime, IsLongerOnASlowRank) {
  const SmallCase s;
  CostCoefficients c;
  c.row = 100;
  const LayerTime even = layer_time(s.placement, s.topology, s.split, c);
  c.slowness = {1'000'000, 1'500'000};
  const LayerTime slow = layer_time(s.placement, s.topology, s.split, c);
  EXPECT_EQ(slow.of_rank[0].compute, even.of_rank[0].compute);
  EXPECT_EQ(2 * slow.of_rank[1].compute, 3 * even.of_rank[1].compute);
}

TEST(LayerTime, IsCutOffRatherThanWrong) {
  const Topology topology({0, 1});
  const Placement placement(0, 2, {{expert_at(0)}, {expert_at(1)}});
  const Counts counts{0, max_total_load / 2, max_total_load / 2, 0};
  CostCoefficients c;
  c.row = c.weight_read = c.expert = max_coefficient;
  c.between_nodes = {max_coefficient, max_coefficient};
  c.slowness = {1'000'000'000, 1'000'000'000};
  const SourceSplit split = split_by_source(placement, topology, counts);
  EXPECT_EQ(layer_time(placement, topology, split, c).longest, max_time);
}

TEST(CostCoefficients, AreRefusedOutOfRange) {
  check_coefficients({}, 3);
  const auto expect_refused = [](auto&& spoil) {
    CostCoefficients c;
    spoil(c);
    EXPECT_THROW(check_coefficients(c, 2), InvalidInput);
  };
  expect_refused([](CostCoefficients& c) { c.top_k = 0; });
  expect_refused([](CostCoefficients& c) { c.tile_rows = 0; });
  expect_refused([](CostCoefficients& c) { c.row = -1; });
  expect_refused([](CostCoefficients& c) { c.between_nodes.back = max_coefficient + 1; });
  expect_refused([](CostCoefficients& c) { c.slowness = {1'000'000}; });
  expect_refused([](CostCoefficients& c) { c.slowness = {1'000'000, 0}; });
}

TEST(ExpectedTokens, AreThoseOfIndependentChoices) {
  test::RandomCases cases(3);
  for (int round = 0; round < 2000; ++round) {
    const auto num_tokens = static_cast<std::int64_t>(cases.number(0, 1000));
    Counts counts = cases.loads(cases.number(0, 6), static_cast<std::size_t>(num_tokens));
    double missed = 1;
    for (const std::int64_t count : counts)
      missed *= num_tokens == 0 ? 1 : 1 - static_cast<double>(count) / static_cast<double>(num_tokens);
    const std::int64_t expected = expected_tokens(num_tokens, counts);
    EXPECT_NEAR(static_cast<double>(expected), static_cast<double>(num_tokens * token_parts) * (1 - missed),
                1);
    EXPECT_LE(expected, token_parts * std::min(num_tokens, sum_of(counts)));
    for (const std::int64_t count : counts) EXPECT_GE(expected, token_parts * count);
  }
  EXPECT_EQ(expected_tokens(5, Counts{9}), 5 * token_parts);
  EXPECT_EQ(expected_tokens(max_total_load, Counts{max_total_load / 2, max_total_load / 2}),
            max_total_load / 4 * 3 * token_parts);
}

TEST(ExpectedTokens, AreNearThoseOfDrawnChoices) {
  constexpr std::int64_t num_tokens = 20'000;
  constexpr int num_experts = 16;
  constexpr std::size_t top_k = 4;
  std::mt19937 random(4);
  Counts counts(num_experts, 0);
  std::int64_t on_rank = 0;  // of experts 0 to 3
  for (std::int64_t token = 0; token < num_tokens; ++token) {
    std::vector<std::size_t> experts(num_experts);
    std::iota(experts.begin(), experts.end(), std::size_t{0});
    std::shuffle(experts.begin(), experts.end(), random);
    for (std::size_t k = 0; k < top_k; ++k) ++counts[experts[k]];
    const auto end = experts.begin() + top_k;
    on_rank += std::any_of(experts.begin(), end, [](std::size_t e) { return e < 4; }) ? 1 : 0;
  }
  counts.resize(4);
  const double expected = static_cast<double>(expected_tokens(num_tokens, counts)) / token_parts;
  EXPECT_LE(expected, static_cast<double>(on_rank));  // tokens choose without putting back
  EXPECT_GE(expected, 0.92 * static_cast<double>(on_rank));
  EXPECT_GE(sum_of(counts), num_tokens * 98 / 100);  // the bound would be all tokens
}

TEST(SpreadOverSources, GivesEveryRankEqualParts) {
  test::RandomCases cases(5);
  for (int round = 0; round < 200; ++round) {
    const Counts loads = cases.loads(cases.number(1, 20), 50);
    const std::size_t ranks = cases.number(1, 7);
    const Counts counts = spread_over_sources(loads, ranks);
    ASSERT_EQ(counts.size(), ranks * loads.size());
    Counts of_source(ranks, 0);
    for (std::size_t e = 0; e < loads.size(); ++e) {
      Counts parts;
      for (std::size_t source = 0; source < ranks; ++source)
        parts.push_back(counts[source * loads.size() + e]);
      for (std::size_t source = 0; source < ranks; ++source) of_source[source] += parts[source];
      EXPECT_EQ(sum_of(parts), loads[e]);
      EXPECT_LE(*std::max_element(parts.begin(), parts.end()) - *std::min_element(parts.begin(), parts.end()),
                1);
    }
    EXPECT_LE(*std::max_element(of_source.begin(), of_source.end()) -
                  *std::min_element(of_source.begin(), of_source.end()),
              1);
  }
}

}  // namespace
}  // namespace moewe
