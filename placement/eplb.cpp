#include "placement/eplb.hpp"

#include <algorithm>
#include <bit>
#include <fmt/format.h>
#include <limits>
#include <numeric>
#include <vector>

#include "comm/error.hpp"
#include "placement/loads.hpp"

namespace moewe {
namespace {

using Loads = std::vector<std::int64_t>;
using Bins = std::vector<std::vector<std::size_t>>;  // the items of each, in the order in which they came

/// Equally many items to each of `num_bins`, the heaviest first, each to the lightest bin that has room.
Bins pack(const Loads& weights, std::size_t num_bins) {
  const std::size_t room = weights.size() / num_bins;
  std::vector<std::size_t> items(weights.size());
  std::iota(items.begin(), items.end(), std::size_t{0});
  if (room > 1) {
    std::stable_sort(items.begin(), items.end(),
                     [&](std::size_t a, std::size_t b) { return weights[a] > weights[b]; });
  }
  Bins bins(num_bins);
  Loads sums(num_bins, 0);
  for (const std::size_t item : items) {
    std::size_t lightest = num_bins;
    for (std::size_t bin = 0; bin < num_bins; ++bin) {
      if (bins[bin].size() < room && (lightest == num_bins || sums[bin] < sums[lightest])) lightest = bin;
      if (room == 1 && lightest != num_bins) break;
    }
    bins[lightest].push_back(item);
    sums[lightest] += weights[item];
  }
  return bins;
}

struct Copies {
  std::vector<std::size_t> expert;  // of each copy
  std::vector<std::int64_t> count;  // of each expert
};

/// One copy of each, and then one more of that with the largest load per copy.
Copies replicate(const Loads& loads, std::size_t num_copies) {
  Copies copies{std::vector<std::size_t>(loads.size()), Loads(loads.size(), 1)};
  std::iota(copies.expert.begin(), copies.expert.end(), std::size_t{0});
  while (copies.expert.size() < num_copies) {
    std::size_t hottest = 0;
    for (std::size_t e = 1; e < loads.size(); ++e) {
      if (loads[e] * copies.count[hottest] > loads[hottest] * copies.count[e]) hottest = e;
    }
    copies.expert.push_back(hottest);
    ++copies.count[hottest];
  }
  return copies;
}

/// Loads in parts of an assignment, so that shares of it can be told apart: as many as sums leave room for.
int part_bits(const Loads& loads) {
  constexpr int most = 30;
  const std::int64_t total = std::accumulate(loads.begin(), loads.end(), std::int64_t{0});
  const int spare = 62 - static_cast<int>(std::bit_width(static_cast<std::uint64_t>(total)));
  return std::min(most, spare);
}

/// The experts of each of a node's ranks; both numbered within the node.
Bins place_in_node(const Loads& loads, std::size_t num_slots, std::size_t num_ranks) {
  const Copies copies = replicate(loads, num_slots);
  const int bits = part_bits(loads);
  Loads shares;
  for (const std::size_t expert : copies.expert)
    shares.push_back((loads[expert] << bits) / copies.count[expert]);
  Bins ranks = pack(shares, num_ranks);
  for (std::vector<std::size_t>& rank : ranks) {
    for (std::size_t& item : rank) item = copies.expert[item];
  }
  return ranks;
}

/// The experts of each node, in the order of the groups that came to it.
Bins experts_of_nodes(std::span<const std::int64_t> loads, const EplbShape& shape) {
  const std::size_t group_size = loads.size() / shape.num_groups;
  Loads group_loads(shape.num_groups, 0);
  for (std::size_t expert = 0; expert < loads.size(); ++expert)
    group_loads[expert / group_size] += loads[expert];
  Bins nodes;
  for (const std::vector<std::size_t>& groups : pack(group_loads, shape.num_nodes)) {
    std::vector<std::size_t>& experts = nodes.emplace_back();
    for (const std::size_t group : groups) {
      for (std::size_t i = 0; i < group_size; ++i) experts.push_back(group * group_size + i);
    }
  }
  return nodes;
}

void require_divisible(std::size_t whole, std::size_t part, const char* names) {
  if (part > 0 && whole % part == 0) return;
  throw InvalidInput(fmt::format("EPLB: {} must be a multiple: {} of {}", names, whole, part));
}

void check_shape(std::size_t num_experts, const EplbShape& shape) {
  constexpr std::size_t max_slots = std::size_t{1} << 18;  // times the largest load still is an integer
  if (num_experts == 0) throw InvalidInput("EPLB: there must be an expert at least");
  require_divisible(num_experts, shape.num_groups, "experts of groups");
  require_divisible(shape.num_ranks, shape.num_nodes, "ranks of nodes");
  require_divisible(shape.num_slots, shape.num_ranks, "slots of ranks");
  if (shape.num_slots < num_experts || shape.num_slots > max_slots) {
    throw InvalidInput(fmt::format("EPLB: {} slots must be from {}, the number of experts, to {}",
                                   shape.num_slots, num_experts, max_slots));
  }
}

}  // namespace

Placement eplb_placement(std::span<const std::int64_t> loads, const EplbShape& asked_for) {
  const EplbShape shape =
      asked_for.is_hierarchical() ? asked_for : EplbShape{asked_for.num_slots, asked_for.num_ranks, 1, 1};
  checked_total(loads, loads.size(), "EPLB");
  check_shape(loads.size(), shape);
  const std::size_t slots_of_node = shape.num_slots / shape.num_nodes;
  const std::size_t ranks_of_node = shape.num_ranks / shape.num_nodes;
  std::vector<std::vector<ExpertId>> experts_of_rank;
  for (const std::vector<std::size_t>& experts : experts_of_nodes(loads, shape)) {
    Loads of_node;
    for (const std::size_t expert : experts) of_node.push_back(loads[expert]);
    for (const auto& rank : place_in_node(of_node, slots_of_node, ranks_of_node)) {
      std::vector<ExpertId>& held = experts_of_rank.emplace_back();
      for (const std::size_t expert : rank) held.push_back(expert_at(experts[expert]));
    }
  }
  return {0, loads.size(), std::move(experts_of_rank)};
}

}  // namespace moewe
