#include "placement/slot_order.hpp"

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

namespace moewe {
namespace {

std::vector<ExpertId> order_rank(std::span<const ExpertId> from, std::span<const ExpertId> to) {
  constexpr ExpertId nobody{-1};
  std::vector<ExpertId> left(to.begin(), to.end());
  std::vector<ExpertId> ordered(to.size(), nobody);
  for (std::size_t slot = 0; slot < std::min(from.size(), to.size()); ++slot) {
    const auto found = std::find(left.begin(), left.end(), from[slot]);
    if (found == left.end()) continue;
    ordered[slot] = *found;
    left.erase(found);
  }
  auto next = left.begin();
  for (ExpertId& expert : ordered) {
    if (expert == nobody) expert = *next++;
  }
  return ordered;
}

}  // namespace

Placement in_old_slots(const Placement& from, const Placement& to) {
  std::vector<std::vector<ExpertId>> experts;
  for (std::size_t rank = 0; rank < to.num_ranks(); ++rank)
    experts.push_back(order_rank(from.experts_of(rank_at(rank)), to.experts_of(rank_at(rank))));
  return Placement(to.epoch(), to.num_experts(), std::move(experts)).with_slowness(to.slowness());
}

}  // namespace moewe
