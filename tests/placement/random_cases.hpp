#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "placement/placement.hpp"
#include "placement/plan.hpp"

namespace moewe::test {

/// Ranks, nodes, slots and loads of all kinds.
struct PlacementCase {
  SlotSpace space{Topology::one_node(1), {1}};
  std::vector<std::int64_t> loads;

  std::string name() const {
    return std::to_string(loads.size()) + " experts in " + std::to_string(space.num_slots()) + " slots on " +
           std::to_string(space.topology.num_ranks()) + " ranks";
  }
};

class RandomCases {
 public:
  explicit RandomCases(std::uint32_t seed) : random_(seed) {}

  std::size_t number(std::size_t low, std::size_t high) {
    return std::uniform_int_distribution<std::size_t>(low, high)(random_);
  }

  /// Some are skewed, some all zero.
  std::vector<std::int64_t> loads(std::size_t experts, std::size_t largest) {
    const std::size_t kind = number(0, 9);
    std::vector<std::int64_t> result(experts, 0);
    for (std::int64_t& load : result) {
      load = kind == 0 ? 0 : static_cast<std::int64_t>(number(0, largest) >> (kind > 5 ? number(0, 8) : 0));
    }
    return result;
  }

  /// Unequal numbers of slots, at least as many as experts where ranks can use them.
  PlacementCase next() {
    const std::size_t ranks = number(1, 9);
    const std::size_t experts = number(1, 24);
    std::vector<std::uint64_t> nodes;
    std::vector<std::size_t> slots;
    for (std::size_t rank = 0; rank < ranks; ++rank) {
      nodes.push_back(number(0, 2));
      slots.push_back(number(0, 5));
    }
    const auto usable = [&] {
      std::size_t sum = 0;
      for (const std::size_t of_rank : slots) sum += std::min(of_rank, experts);
      return sum;
    };
    while (usable() < experts) ++slots[number(0, ranks - 1)];
    return {{Topology(nodes), slots, number(0, 5)}, loads(experts, number(0, 1) == 0 ? 20 : 100000)};
  }

  /// Any placement that a case allows, also with several slots of an expert on one rank.
  Placement placement(const PlacementCase& c) {
    std::vector<std::size_t> ranks;
    for (std::size_t rank = 0; rank < c.space.slots_per_rank.size(); ++rank) {
      ranks.insert(ranks.end(), c.space.slots_per_rank[rank], rank);
    }
    std::shuffle(ranks.begin(), ranks.end(), random_);
    std::vector<std::vector<ExpertId>> experts(c.space.slots_per_rank.size());
    for (std::size_t i = 0; i < ranks.size(); ++i) {
      const std::size_t expert = i < c.loads.size() ? i : number(0, c.loads.size() - 1);
      experts[ranks[i]].push_back(expert_at(expert));
    }
    return {1, c.loads.size(), std::move(experts)};
  }

 private:
  std::mt19937 random_;
};

/// No split of `loads` on `placement` has a smaller largest rank load: the maximum over all sets of ranks of
/// what the experts that lie on no other rank load them with in the mean. Tries every set.
inline std::int64_t least_largest(const Placement& placement, const std::vector<std::int64_t>& loads) {
  std::int64_t least = 0;
  for (std::size_t set = 1; set < (std::size_t{1} << placement.num_ranks()); ++set) {
    std::int64_t inside = 0;
    for (std::size_t e = 0; e < loads.size(); ++e) {
      bool is_inside = true;
      for (const Slot& slot : placement.slots_of(expert_at(e)))
        is_inside &= ((set >> index(slot.rank)) & 1U) != 0;
      if (is_inside) inside += loads[e];
    }
    const auto size = static_cast<std::int64_t>(__builtin_popcountll(set));
    least = std::max(least, (inside + size - 1) / size);
  }
  return least;
}

}  // namespace moewe::test
