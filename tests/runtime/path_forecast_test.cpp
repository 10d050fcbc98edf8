#include "runtime/path_forecast.hpp"

#include <gtest/gtest.h>
#include <set>

#include "placement/placement.hpp"

namespace moewe {
namespace {

const std::vector<Topology> clusters{Topology({0, 0, 1, 1}), Topology({0, 0, 1, 1, 2, 2}),
                                     Topology({0, 1, 1, 2, 0, 1}), Topology({0, 0, 0, 0, 1})};

PathBasis basis_of(const ExpectedTraffic& traffic, double link_s_per_byte, double memory_s_per_byte) {
  return {traffic, {"mpi", LinkCost{0, link_s_per_byte}, std::nullopt}, LinkCost{0, memory_s_per_byte}};
}

ExpectedTraffic traffic_of(std::size_t num_experts, std::size_t top_k, Combine combine) {
  return {num_experts, top_k, 8, combine, 0};
}

template <typename Check>
void for_all_traffic(Check&& check) {
  for (const auto& [num_experts, top_k] : std::vector<std::pair<std::size_t, std::size_t>>{
           {8, 2}, {32, 8}, {7, 3}, {6, 6}, {5, 1}, {256, 8}, {3, 2}}) {
    for (const Combine combine : {Combine::reproducible, Combine::fast})
      check(traffic_of(num_experts, top_k, combine));
  }
}

template <typename Check>
void for_all_pairs(const Topology& cluster, Check&& check) {
  for (std::size_t a = 0; a < cluster.num_nodes(); ++a) {
    for (std::size_t b = 0; b < cluster.num_nodes(); ++b) {
      if (a != b) check(a, b);
    }
  }
}

/// Means over all choices of k experts, counted one choice after the other.
struct Counted {
  double ranks = 0;    ///< of the node that compute something
  double nodes = 0;    ///< whether any does
  double outputs = 0;  ///< experts that are on the node
};

Counted count(const Topology& cluster, const ExpectedTraffic& traffic, std::size_t node) {
  const Placement placement = contiguous_placement(traffic.num_experts, cluster.num_ranks());
  Counted sum;
  double num_choices = 0;
  for (std::uint32_t choice = 0; choice < (1U << traffic.num_experts); ++choice) {
    std::set<Rank> ranks;
    std::size_t num_chosen = 0;
    std::size_t num_here = 0;
    for (std::size_t e = 0; e < traffic.num_experts; ++e) {
      if ((choice >> e & 1U) == 0) continue;
      ++num_chosen;
      const Rank rank = placement.slot_of(expert_at(e)).rank;
      if (cluster.node_of(rank) != node) continue;
      ranks.insert(rank);
      ++num_here;
    }
    if (num_chosen != traffic.top_k) continue;
    ++num_choices;
    sum.ranks += static_cast<double>(ranks.size());
    sum.nodes += ranks.empty() ? 0 : 1;
    sum.outputs += static_cast<double>(num_here);
  }
  return {sum.ranks / num_choices, sum.nodes / num_choices, sum.outputs / num_choices};
}

double ranks_of(const Topology& cluster, std::size_t node) {
  double count = 0;
  for (std::size_t r = 0; r < cluster.num_ranks(); ++r) count += cluster.node_of(rank_at(r)) == node ? 1 : 0;
  return count;
}

TEST(PathForecasts, AreWhatIsCountedOverAllChoicesOfExperts) {
  for (const Topology& cluster : clusters) {
    for_all_traffic([&](const ExpectedTraffic& traffic) {
      if (traffic.num_experts > 10) return;  // to count takes too long
      const PathBasis basis = basis_of(traffic, 1, 0);
      const PathForecasts forecasts(cluster, basis);
      for_all_pairs(cluster, [&](std::size_t a, std::size_t b) {
        const Counted to_a = count(cluster, traffic, a), to_b = count(cluster, traffic, b);
        const double ranks_a = ranks_of(cluster, a), ranks_b = ranks_of(cluster, b);
        const bool is_fast = traffic.combine == Combine::fast;
        const auto busier = [&](double rows_a, double rows_b) {
          const double back_a = is_fast ? rows_a : to_a.outputs, back_b = is_fast ? rows_b : to_b.outputs;
          return 8 * std::max(ranks_a * rows_b + ranks_b * back_a, ranks_b * rows_a + ranks_a * back_b);
        };
        const auto mean = [&](double rows_a, double rows_b) {
          return (ranks_a * rows_b + ranks_b * rows_a) / (ranks_a + ranks_b);
        };
        const PathForecast message = forecasts.of(PathKind::message, a, b);
        const PathForecast two_level = forecasts.of(PathKind::two_level, a, b);
        EXPECT_NEAR(message.seconds, busier(to_a.ranks, to_b.ranks), 1e-9);
        EXPECT_NEAR(two_level.seconds, busier(to_a.nodes, to_b.nodes), 1e-9);
        EXPECT_NEAR(message.crossings, mean(to_a.ranks, to_b.ranks), 1e-9);
        EXPECT_NEAR(two_level.crossings, mean(to_a.nodes, to_b.nodes), 1e-9);
      });
    });
  }
}

TEST(PathForecasts, AreTheSameFromBothSides) {
  for (const Topology& cluster : clusters) {
    for_all_traffic([&](const ExpectedTraffic& traffic) {
      const PathBasis basis = basis_of(traffic, 3, 2);
      const PathForecasts forecasts(cluster, basis);
      for_all_pairs(cluster, [&](std::size_t a, std::size_t b) {
        EXPECT_EQ(forecasts.best(a, b), forecasts.best(b, a));
        for (const PathKind kind : {PathKind::message, PathKind::two_level})
          EXPECT_EQ(forecasts.of(kind, a, b).seconds, forecasts.of(kind, b, a).seconds);
      });
    });
  }
}

TEST(PathForecasts, ChooseMessageBetweenNodesOfOneRank) {
  for_all_traffic([&](const ExpectedTraffic& traffic) {
    for (const double link : {1e-12, 1e-9, 1.0}) {
      const PathBasis basis = basis_of(traffic, link, 1e-10);
      EXPECT_EQ(PathForecasts(Topology({0, 1, 2}), basis).best(0, 2), PathKind::message);
    }
  });
}

TEST(PathForecasts, TurnToTwoLevelOnceAsLinksBecomeSlowerAndBackOnceAsMemoryDoes) {
  std::set<PathKind> chosen;
  for (const Topology& cluster : clusters) {
    for_all_traffic([&](const ExpectedTraffic& traffic) {
      for_all_pairs(cluster, [&](std::size_t a, std::size_t b) {
        const auto best = [&](double link, double memory) {
          const PathBasis basis = basis_of(traffic, link, memory);
          return PathForecasts(cluster, basis).best(a, b);
        };
        for (double cost = 1e-3; cost < 1e3; cost *= 1.5) {
          chosen.insert(best(cost, 1));
          const bool turns_back =
              best(cost, 1) == PathKind::two_level && best(1.5 * cost, 1) == PathKind::message;
          const bool turns_forth =
              best(1, cost) == PathKind::message && best(1, 1.5 * cost) == PathKind::two_level;
          EXPECT_FALSE(turns_back || turns_forth) << cost;
        }
      });
    });
  }
  EXPECT_EQ(chosen.size(), 2U);
}

TEST(PathForecasts, ChooseWhatPaysOnCommonLinks) {
  constexpr double ethernet = 1 / 117e6, fabric = 1 / 50e9, memory = 1 / 9.8e9;
  for (const Combine combine : {Combine::reproducible, Combine::fast}) {
    const PathBasis slow = basis_of(traffic_of(32, 8, combine), ethernet, memory);
    const PathBasis fast = basis_of(traffic_of(32, 8, combine), fabric, memory);
    for (const Topology& cluster : {clusters[0], clusters[1]}) {
      EXPECT_EQ(PathForecasts(cluster, slow).best(0, 1), PathKind::two_level);
      EXPECT_EQ(PathForecasts(cluster, fast).best(0, 1), PathKind::message);
    }
  }
}

TEST(PathForecasts, ChooseMessageWhereCostsAreNotKnown) {
  PathBasis without_memory = basis_of(traffic_of(32, 8, Combine::fast), 1, 1e-9);
  without_memory.memory.reset();
  PathBasis without_link = basis_of(traffic_of(32, 8, Combine::fast), 1, 1e-9);
  without_link.messages.between_nodes.reset();
  for (const PathBasis& basis : {without_memory, without_link})
    EXPECT_EQ(PathForecasts(clusters[0], basis).best(0, 1), PathKind::message);
}

TEST(PathForecasts, CountLatenciesForEachTokenOfAStep) {
  PathBasis basis = basis_of(traffic_of(8, 2, Combine::fast), 1e-9, 1e-12);
  basis.messages.between_nodes->latency_s = 1e-3;
  const double many = PathForecasts(clusters[0], basis).of(PathKind::message, 0, 1).seconds;
  for (const std::size_t tokens : {1U, 16U}) {
    basis.traffic.tokens_per_rank = tokens;
    EXPECT_NEAR(PathForecasts(clusters[0], basis).of(PathKind::message, 0, 1).seconds,
                many + 2e-3 / static_cast<double>(tokens), 1e-12);
  }
}

TEST(PathForecasts, OfMessagesAreThoseOfTheBusiestNode) {
  const ExpectedTraffic traffic = traffic_of(6, 6, Combine::reproducible);  // every token goes everywhere
  PathBasis basis{traffic, {"mpi", LinkCost{0, 1}, LinkCost{0, 10}}, LinkCost{0, 1e-6}};
  const PathForecasts forecasts(clusters[0], basis);
  const double between = 8 * (2 * 2 + 2 * 3), two_level = 8 * (2 * 1 + 2 * 3), inside = 10 * 8 * (2 + 3);
  EXPECT_NEAR(forecasts.seconds_of_messages(PathKind::message, false), between, 1e-9);
  EXPECT_NEAR(forecasts.seconds_of_messages(PathKind::message, true), between + inside, 1e-9);
  EXPECT_NEAR(forecasts.seconds_of_messages(PathKind::two_level, false), two_level, 1e-9);
  EXPECT_NEAR(forecasts.seconds_of_messages(std::nullopt, false), two_level, 1e-9);  // the quicker one
}

}  // namespace
}  // namespace moewe
