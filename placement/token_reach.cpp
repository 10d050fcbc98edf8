#include "placement/token_reach.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <vector>

#include "comm/error.hpp"
#include "placement/split.hpp"

namespace moewe {
namespace {

std::vector<std::int64_t> loads_of(std::span<const ExpertId> ids, std::size_t num_experts) {
  std::vector<std::int64_t> loads(num_experts, 0);
  for (const ExpertId id : ids) {
    if (number(id) < 0 || index(id) >= num_experts)
      throw InvalidInput(fmt::format("token reach: expert {} is not between 0 and {}", number(id),
                                     static_cast<std::int64_t>(num_experts) - 1));
    ++loads[index(id)];
  }
  return loads;
}

/// Slots that serve one assignment after the other.
class Servers {
 public:
  Servers(const Placement& placement, std::span<const std::int64_t> loads)
      : placement_(placement), left_(split_loads(placement, loads).shares) {
    for (std::size_t e = 0; e < loads.size(); ++e) next_.push_back(placement.first_slot(expert_at(e)));
  }

  Rank next(ExpertId expert) {
    std::size_t& slot = next_[index(expert)];
    while (left_[slot] == 0) ++slot;
    --left_[slot];
    return placement_.slots_of(expert)[slot - placement_.first_slot(expert)].rank;
  }

 private:
  const Placement& placement_;
  std::vector<std::int64_t> left_;  // [slots]
  std::vector<std::size_t> next_;   // [experts] slot that serves
};

std::int64_t count_distinct(std::vector<std::size_t>& values) {
  std::sort(values.begin(), values.end());
  return std::unique(values.begin(), values.end()) - values.begin();
}

}  // namespace

TokenReach count_reach(const Placement& placement, const Topology& topology, std::span<const ExpertId> ids,
                       std::size_t top_k) {
  if (top_k == 0 || ids.size() % top_k != 0 || topology.num_ranks() != placement.num_ranks())
    throw InvalidInput(fmt::format("token reach: {} choices of {} per token on {} ranks of {}", ids.size(),
                                   top_k, placement.num_ranks(), topology.num_ranks()));
  Servers servers(placement, loads_of(ids, placement.num_experts()));
  TokenReach reach;
  std::vector<std::size_t> ranks(top_k);
  std::vector<std::size_t> nodes(top_k);
  for (std::size_t first = 0; first < ids.size(); first += top_k) {
    for (std::size_t i = 0; i < top_k; ++i) {
      const Rank rank = servers.next(ids[first + i]);
      ranks[i] = index(rank);
      nodes[i] = topology.node_of(rank);
    }
    ++reach.tokens;
    reach.ranks += count_distinct(ranks);
    reach.nodes += count_distinct(nodes);
  }
  return reach;
}

}  // namespace moewe
