#include "placement/plan_incremental.hpp"

#include <algorithm>
#include <numeric>

#include "placement/exchange_search.hpp"
#include "placement/loads.hpp"
#include "placement/slot_search.hpp"
#include "placement/split.hpp"

namespace moewe {
namespace {

/// One for each expert that is not on a rank.
SlotCosts arrival_costs(const Placement& from) {
  SlotCosts costs{std::vector<std::uint8_t>(from.num_ranks() * from.num_experts(), 1), from.num_experts()};
  for (std::size_t rank = 0; rank < from.num_ranks(); ++rank) {
    for (const ExpertId expert : from.experts_of(rank_at(rank))) {
      costs.values[rank * from.num_experts() + index(expert)] = 0;
    }
  }
  return costs;
}

/// Where the target was not reached: the search may have relieved many ranks and loaded the largest one more.
Placement closest(const Placement& from, Arrangement& arrangement, std::span<const std::int64_t> loads,
                  const IncrementalOptions& options) {
  const bool is_free = options.most_arrivals >= arrangement.num_slots() && options.price == 0;
  const std::int64_t total = std::accumulate(loads.begin(), loads.end(), std::int64_t{0});
  if (is_free) {
    const std::int64_t goal = largest_allowed(total, options.target, from.num_ranks());
    ExchangeSearch(arrangement, loads).run(goal, arrangement.num_slots());
  }
  Placement found = arrangement.to_placement(from.epoch() + 1);
  if (Splitter(found).largest(loads) < Splitter(from).largest(loads)) return found;
  return Arrangement(from).to_placement(from.epoch() + 1);
}

}  // namespace

Placement plan_incrementally(const Placement& from, std::span<const std::int64_t> loads,
                             const IncrementalOptions& options) {
  const std::int64_t total = checked_total(loads, from.num_experts(), "incremental plan");
  const std::int64_t capacity = largest_allowed(total, options.target, from.num_ranks());
  Arrangement arrangement(from);
  const SlotCosts costs = arrival_costs(from);
  const auto most = static_cast<std::int64_t>(std::min<std::size_t>(options.most_arrivals, max_total_load));
  SlotSearch search(arrangement, loads, costs);
  const std::int64_t excess = search.run({.capacity = capacity, .most_cost = most, .price = options.price});
  if (excess > 0) return closest(from, arrangement, loads, options);
  return arrangement.to_placement(from.epoch() + 1);
}

}  // namespace moewe
