#include "placement/evaluation.hpp"

#include <algorithm>
#include <numeric>

#include "comm/error.hpp"

namespace moewe {

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

}  // namespace moewe
