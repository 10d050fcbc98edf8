#include "placement/plan_robust.hpp"

#include <algorithm>

#include "placement/drift.hpp"
#include "placement/loads.hpp"
#include "placement/packing.hpp"
#include "placement/robust_search.hpp"

namespace moewe {

Placement plan_robustly(std::span<const std::int64_t> loads, const SlotSpace& space,
                        const RobustOptions& options) {
  constexpr std::size_t most_scenarios = 64;
  const std::size_t number = std::clamp<std::size_t>(options.scenarios, 1, most_scenarios);
  Arrangement arrangement = arrange(loads, space, {});
  std::vector<std::vector<std::int64_t>> scenarios = drift_scenarios(loads, number, options.seed);
  for (std::size_t i = 0; i < std::min(number, options.seen.size()); ++i) {
    checked_total(options.seen[i], loads.size(), "robust plan");
    scenarios[i] = to_common_total(options.seen[i]);
  }
  RobustSearch(arrangement, scenarios, options.seed).run(options.iterations);
  return arrangement.to_placement(space.epoch);
}

}  // namespace moewe
