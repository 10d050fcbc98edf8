#include "placement/plan_robust.hpp"

#include <algorithm>
#include <utility>

#include "comm/error.hpp"
#include "placement/drift.hpp"
#include "placement/loads.hpp"
#include "placement/packing.hpp"
#include "placement/robust_search.hpp"
#include "placement/slot_order.hpp"
#include "placement/speeds.hpp"
#include "placement/split.hpp"
#include "placement/wide.hpp"

namespace moewe {

namespace {

/// Of loads that are made of one common total.
struct Scenarios {
  std::vector<std::vector<std::int64_t>> loads;
  std::int64_t total;
};

Scenarios scenarios_for(std::span<const std::int64_t> loads, std::size_t num_ranks,
                        const RobustOptions& options) {
  constexpr std::size_t most_scenarios = 64;
  constexpr std::size_t parts_of_mean = 1U << 15U;  // the coarser the loads, the faster their flows
  const std::size_t number = std::clamp<std::size_t>(options.scenarios, 1, most_scenarios);
  std::vector<std::vector<std::int64_t>> scenarios = drift_scenarios(loads, number, options.seed);
  for (std::size_t i = 0; i < std::min(number, options.seen.size()); ++i) {
    checked_total(options.seen[i], loads.size(), "robust plan");
    scenarios[i] = options.seen[i];
  }
  const std::int64_t total =
      std::min(std::int64_t{1} << 30U, static_cast<std::int64_t>(parts_of_mean * num_ranks));
  for (std::vector<std::int64_t>& scenario : scenarios)
    scenario = to_common_total(std::move(scenario), total);
  return {std::move(scenarios), total};
}

/// Base loads make up for the speeds of ranks at the time that scenarios take in the mean.
void set_base_loads(Arrangement& arrangement, const Scenarios& scenarios, const SlotSpace& space) {
  const RankSpeeds speeds(space.slowness, space.slots_per_rank.size());
  arrangement.set_base_loads(speeds.base_loads(speeds.mean_time(scenarios.total)));
  if (speeds.are_equal()) return;
  const std::int64_t times = RobustSearch(arrangement, scenarios.loads, 0).sum();
  const auto number = static_cast<std::int64_t>(scenarios.loads.size());
  arrangement.set_base_loads(speeds.base_loads(times / number));
}

void improve(Arrangement& arrangement, const Scenarios& scenarios, const SlotSpace& space,
             const RobustOptions& options, RobustLimits limits) {
  set_base_loads(arrangement, scenarios, space);
  for (std::size_t rank = 0; rank < space.topology.num_ranks(); ++rank)
    limits.node_of_rank.push_back(space.topology.node_of(rank_at(rank)));
  RobustSearch(arrangement, scenarios.loads, options.seed, std::move(limits)).run(options.iterations);
}

/// Of loads that sum to `total`, in those of a common total.
std::int64_t scaled_price(std::int64_t price, std::int64_t total, std::int64_t common_total) {
  const std::int64_t most = std::min(price, total + 1);  // more than can be gained
  return total == 0
             ? 1
             : static_cast<std::int64_t>((wide(most) * wide(common_total) + wide(total) - 1) / wide(total));
}

}  // namespace

Placement plan_robustly(std::span<const std::int64_t> loads, const SlotSpace& space,
                        const RobustOptions& options) {
  Arrangement arrangement = arrange(loads, space, {});
  improve(arrangement, scenarios_for(loads, arrangement.num_ranks(), options), space, options, {});
  return arrangement.to_placement(space.epoch);
}

Placement plan_robustly_from(const Placement& from, std::span<const std::int64_t> loads,
                             const SlotSpace& space, const RobustOptions& options) {
  const std::int64_t total = checked_total(loads, from.num_experts(), "robust plan");
  if (from.num_ranks() != space.topology.num_ranks() ||
      space.slots_per_rank != SlotSpace::of(from, space.topology).slots_per_rank)
    throw InvalidInput("robust plan: a placement in use does not have the slots that are planned");
  Arrangement arrangement(from);
  const Scenarios scenarios = scenarios_for(loads, from.num_ranks(), options);
  const SlotCosts costs = arrival_costs(from);
  const auto most = static_cast<std::int64_t>(std::min<std::size_t>(options.most_arrivals, max_total_load));
  const std::int64_t price = scaled_price(options.price, total, scenarios.total);
  improve(arrangement, scenarios, space, options, {&costs, most, price});
  return in_old_slots(from, arrangement.to_placement(from.epoch() + 1));
}

}  // namespace moewe
