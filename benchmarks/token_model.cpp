#include "benchmarks/token_model.hpp"

#include <algorithm>
#include <numeric>
#include <random>
#include <set>

namespace moewe::bench {
namespace {

/// `count` different ones of `candidates`, one after the other in proportion to their weights.
std::vector<std::size_t> draw_some(std::vector<std::size_t> candidates, const std::vector<double>& weights,
                                   std::size_t count, std::mt19937_64& random) {
  std::vector<std::size_t> drawn;
  while (drawn.size() < count) {
    double total = 0;
    for (const std::size_t c : candidates) total += weights[c];
    double at = std::uniform_real_distribution<double>(0, total)(random);
    std::size_t i = 0;
    while (i + 1 < candidates.size() && at >= weights[candidates[i]]) at -= weights[candidates[i++]];
    drawn.push_back(candidates[i]);
    candidates.erase(candidates.begin() + static_cast<std::ptrdiff_t>(i));
  }
  return drawn;
}

/// Nodes of an expert's slots, with their shares.
struct Way {
  std::size_t node;
  std::int64_t share;
};

std::vector<std::vector<Way>> ways_of_experts(const Placement& placement, const Topology& topology,
                                              const Split& split) {
  std::vector<std::vector<Way>> ways(placement.num_experts());
  std::size_t next = 0;
  for (std::size_t e = 0; e < ways.size(); ++e) {
    for (const Slot& slot : placement.slots_of(expert_at(e))) {
      ways[e].push_back({topology.node_of(slot.rank), split.shares[next++]});
    }
  }
  return ways;
}

std::size_t draw_node(const std::vector<Way>& ways, std::mt19937_64& random) {
  std::int64_t total = 0;
  for (const Way& way : ways) total += way.share;
  if (total == 0) return ways[0].node;
  std::int64_t at = std::uniform_int_distribution<std::int64_t>(0, total - 1)(random);
  std::size_t i = 0;
  while (at >= ways[i].share) at -= ways[i++].share;
  return ways[i].node;
}

}  // namespace

std::vector<std::vector<std::size_t>> draw_tokens(const std::vector<std::int64_t>& loads,
                                                  const GroupedRouter& router, std::size_t tokens,
                                                  std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const std::vector<double> weights(loads.begin(), loads.end());
  const std::size_t size = loads.size() / router.num_groups;
  std::vector<double> of_groups(router.num_groups, 0);
  for (std::size_t e = 0; e < loads.size(); ++e) of_groups[e / size] += weights[e];
  std::vector<std::size_t> groups(router.num_groups);
  std::iota(groups.begin(), groups.end(), std::size_t{0});
  std::vector<std::vector<std::size_t>> drawn;
  for (std::size_t token = 0; token < tokens; ++token) {
    std::vector<std::size_t> experts;
    for (const std::size_t group : draw_some(groups, of_groups, router.kept_groups, random)) {
      for (std::size_t e = group * size; e < (group + 1) * size; ++e) experts.push_back(e);
    }
    drawn.push_back(draw_some(experts, weights, router.top_k, random));
  }
  return drawn;
}

double nodes_per_token(const std::vector<std::vector<std::size_t>>& tokens, const Placement& placement,
                       const Topology& topology, const Split& split, bool is_token_aware) {
  std::mt19937_64 random(1);
  const auto ways = ways_of_experts(placement, topology, split);
  std::size_t reached = 0;
  for (const std::vector<std::size_t>& experts : tokens) {
    std::set<std::size_t> nodes;
    std::vector<std::size_t> order = experts;
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return ways[a].size() < ways[b].size(); });
    for (const std::size_t e : order) {
      const auto known = std::find_if(ways[e].begin(), ways[e].end(), [&](const Way& way) {
        return is_token_aware && way.share > 0 && nodes.count(way.node) > 0;
      });
      nodes.insert(known != ways[e].end() ? known->node : draw_node(ways[e], random));
    }
    reached += nodes.size();
  }
  return static_cast<double>(reached) / static_cast<double>(tokens.size());
}

}  // namespace moewe::bench
