#include "placement/plan_incremental.hpp"

#include <algorithm>

#include "placement/exchange_search.hpp"
#include "placement/loads.hpp"
#include "placement/slot_search.hpp"
#include "placement/speeds.hpp"
#include "placement/split.hpp"

namespace moewe {
namespace {

/// What is to be reached, in times of ranks.
struct Goal {
  const RankSpeeds& speeds;
  std::int64_t time;
  bool is_free;  ///< whatever arrives
};

/// Where the goal was not reached: the search may have relieved many ranks and loaded the largest one more.
Placement closest(const Placement& from, Arrangement& arrangement, std::span<const std::int64_t> loads,
                  const Goal& goal) {
  if (goal.is_free) ExchangeSearch(arrangement, loads).run(goal.time, arrangement.num_slots());
  Placement found = arrangement.to_placement(from.epoch() + 1);
  if (least_time(found, loads, goal.speeds) < least_time(from, loads, goal.speeds)) return found;
  return Arrangement(from).to_placement(from.epoch() + 1);
}

}  // namespace

Placement plan_incrementally(const Placement& from, std::span<const std::int64_t> loads,
                             const IncrementalOptions& options) {
  const std::int64_t total = checked_total(loads, from.num_experts(), "incremental plan");
  const RankSpeeds speeds(options.slowness, from.num_ranks());
  const std::int64_t time = speeds.allowed_time(total, options.target);
  Arrangement arrangement(from);
  arrangement.set_base_loads(speeds.base_loads(time));
  const SlotCosts costs = arrival_costs(from);
  const auto most = static_cast<std::int64_t>(std::min<std::size_t>(options.most_arrivals, max_total_load));
  SlotSearch search(arrangement, loads, costs);
  const std::int64_t excess =
      search.run({.capacity = time, .most_cost = most, .price = options.price, .is_quick = true});
  const bool is_free = options.most_arrivals >= arrangement.num_slots() && options.price == 0;
  if (excess > 0) return closest(from, arrangement, loads, {speeds, time, is_free});
  return arrangement.to_placement(from.epoch() + 1);
}

}  // namespace moewe
