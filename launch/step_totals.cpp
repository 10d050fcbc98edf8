#include "launch/step_totals.hpp"

#include <algorithm>
#include <numeric>

#include "placement/placement.hpp"

namespace moewe {

void StepTotals::begin_step() {
  step_times.push_back(0);
  last_imbalance.clear();
}

void StepTotals::add(const StepReport& report, double seconds, std::size_t num_assigned) {
  const std::size_t i = last_imbalance.size();
  step_times.back() += seconds;
  for (std::size_t p = 0; p < num_phases; ++p) phase_times[p] += report.seconds[p];
  assigned += static_cast<std::int64_t>(num_assigned);
  computed +=
      std::accumulate(report.computed_per_slot.begin(), report.computed_per_slot.end(), std::int64_t{0});
  last_imbalance.push_back(imbalance(report.assignments_per_rank));
  agreed.most_rounds = std::max<std::uint64_t>(agreed.most_rounds, report.num_rounds);
  if (report.overflow) agreed.overflow[i].add(*report.overflow);
}

void StepTotals::end_step(std::size_t step) {
  if (step == 0) agreed.first_imbalance = last_imbalance;
}

}  // namespace moewe
