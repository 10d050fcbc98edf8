#include "placement/evaluation.hpp"

#include <algorithm>
#include <numeric>

#include "comm/error.hpp"

namespace moewe {
namespace {

/// Which experts a rank holds, each once, in ascending order.
std::vector<ExpertId> held_by(const Placement& placement, Rank rank) {
  const auto experts = placement.experts_of(rank);
  std::vector<ExpertId> held(experts.begin(), experts.end());
  std::sort(held.begin(), held.end());
  held.erase(std::unique(held.begin(), held.end()), held.end());
  return held;
}

}  // namespace

std::vector<double> equal_split_loads(std::span<const std::int64_t> loads, const Placement& placement) {
  expects(loads.size() == placement.num_experts(), "loads and placement are of the same experts");
  std::vector<double> of_rank(placement.num_ranks(), 0);
  for (std::size_t expert = 0; expert < loads.size(); ++expert) {
    const auto slots = placement.slots_of(expert_at(expert));
    const double share = static_cast<double>(loads[expert]) / static_cast<double>(slots.size());
    for (const Slot& slot : slots) of_rank[index(slot.rank)] += share;
  }
  return of_rank;
}

double equal_split_imbalance(std::span<const std::int64_t> loads, const Placement& placement) {
  const std::vector<double> of_rank = equal_split_loads(loads, placement);
  const double total = std::accumulate(of_rank.begin(), of_rank.end(), 0.0);
  if (total == 0) return 1.0;
  return *std::max_element(of_rank.begin(), of_rank.end()) * static_cast<double>(of_rank.size()) / total;
}

std::size_t num_duplicates(const Placement& placement) {
  std::size_t num_different = 0;
  for (std::size_t rank = 0; rank < placement.num_ranks(); ++rank)
    num_different += held_by(placement, rank_at(rank)).size();
  return placement.num_slots() - num_different;
}

std::size_t num_arrivals(const Placement& from, const Placement& to) {
  expects(from.num_ranks() == to.num_ranks() && from.num_experts() == to.num_experts(),
          "placements that follow each other are of the same experts and ranks");
  std::size_t arrivals = 0;
  for (std::size_t rank = 0; rank < to.num_ranks(); ++rank) {
    const std::vector<ExpertId> held = held_by(from, rank_at(rank));
    for (const ExpertId expert : held_by(to, rank_at(rank)))
      arrivals += std::binary_search(held.begin(), held.end(), expert) ? 0 : 1;
  }
  return arrivals;
}

}  // namespace moewe
