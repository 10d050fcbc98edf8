#include "placement/plan_robust.hpp"

#include <algorithm>
#include <utility>

#include "placement/drift.hpp"
#include "placement/loads.hpp"
#include "placement/packing.hpp"
#include "placement/robust_search.hpp"

namespace moewe {

Placement plan_robustly(std::span<const std::int64_t> loads, const SlotSpace& space,
                        const RobustOptions& options) {
  constexpr std::size_t most_scenarios = 64;
  constexpr std::size_t parts_of_mean = 1U << 15U;  // the coarser the loads, the faster their flows
  const std::size_t number = std::clamp<std::size_t>(options.scenarios, 1, most_scenarios);
  Arrangement arrangement = arrange(loads, space, {});
  std::vector<std::vector<std::int64_t>> scenarios = drift_scenarios(loads, number, options.seed);
  for (std::size_t i = 0; i < std::min(number, options.seen.size()); ++i) {
    checked_total(options.seen[i], loads.size(), "robust plan");
    scenarios[i] = options.seen[i];
  }
  const std::int64_t total =
      std::min(std::int64_t{1} << 30U, static_cast<std::int64_t>(parts_of_mean * arrangement.num_ranks()));
  for (std::vector<std::int64_t>& scenario : scenarios)
    scenario = to_common_total(std::move(scenario), total);
  RobustSearch(arrangement, scenarios, options.seed).run(options.iterations);
  return arrangement.to_placement(space.epoch);
}

}  // namespace moewe
