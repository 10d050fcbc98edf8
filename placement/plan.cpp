#include "placement/plan.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "placement/exchange_search.hpp"
#include "placement/loads.hpp"
#include "placement/packing.hpp"
#include "placement/single_search.hpp"

namespace moewe {

SlotSpace SlotSpace::equal(Topology topology, std::size_t slots_per_rank) {
  const std::size_t num_ranks = topology.num_ranks();
  return {std::move(topology), std::vector<std::size_t>(num_ranks, slots_per_rank)};
}

SlotSpace SlotSpace::of(const Placement& placement, Topology topology) {
  SlotSpace space{std::move(topology), {}, placement.epoch() + 1};
  for (std::size_t rank = 0; rank < placement.num_ranks(); ++rank) {
    space.slots_per_rank.push_back(placement.experts_of(rank_at(rank)).size());
  }
  return space;
}

std::size_t SlotSpace::num_slots() const {
  return std::accumulate(slots_per_rank.begin(), slots_per_rank.end(), std::size_t{0});
}

Arrangement arrange(std::span<const std::int64_t> loads, const SlotSpace& space, const PlanOptions& options) {
  const std::vector<std::size_t> slots = usable_slots(space, loads.size());
  const std::int64_t total = checked_total(loads, loads.size(), "plan");
  Arrangement arrangement = pack(loads, space.topology, slots);
  const std::int64_t goal = largest_allowed(total, options.target, slots.size());
  if (arrangement.num_slots() == loads.size()) {
    exchange_singles(arrangement, loads, goal, options.most_exchanges);
  } else {
    ExchangeSearch(arrangement, loads).run(goal, options.most_exchanges);
  }
  return arrangement;
}

Placement plan_placement(std::span<const std::int64_t> loads, const SlotSpace& space,
                         const PlanOptions& options) {
  return arrange(loads, space, options).to_placement(space.epoch);
}

std::size_t count_arrivals(const Placement& from, const Placement& to) {
  std::size_t arrivals = 0;
  std::vector<bool> is_there(to.num_experts());
  for (std::size_t rank = 0; rank < to.num_ranks(); ++rank) {
    std::fill(is_there.begin(), is_there.end(), false);
    for (const ExpertId expert : from.experts_of(rank_at(rank))) is_there[index(expert)] = true;
    for (const ExpertId expert : to.experts_of(rank_at(rank))) {
      if (!is_there[index(expert)]) ++arrivals;
      is_there[index(expert)] = true;
    }
  }
  return arrivals;
}

std::size_t count_duplicates(const Placement& placement) {
  std::size_t duplicates = 0;
  for (std::size_t expert = 0; expert < placement.num_experts(); ++expert) {
    const std::span<const Slot> slots = placement.slots_of(expert_at(expert));
    for (std::size_t i = 1; i < slots.size(); ++i) {
      if (slots[i].rank == slots[i - 1].rank) ++duplicates;
    }
  }
  return duplicates;
}

}  // namespace moewe
