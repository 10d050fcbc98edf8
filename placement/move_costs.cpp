#include "placement/move_costs.hpp"

#include <algorithm>

#include "comm/error.hpp"
#include "placement/wide.hpp"

namespace moewe {
namespace {

constexpr Millionths one = 1'000'000;
constexpr Millionths most_share = 1000 * one;
constexpr std::int64_t longest = std::int64_t{1} << 50U;

bool is_in_range(const StepMeasures& measures) {
  const auto values = {measures.layer_step, measures.sending, measures.sending_steps, measures.planning,
                       measures.plans};
  return std::all_of(values.begin(), values.end(),
                     [](std::int64_t value) { return value >= 0 && value <= longest; });
}

/// Of time / (count x step), rounded up.
Millionths share(std::int64_t time, std::int64_t count, std::int64_t step) {
  const Wide whole = wide(count) * wide(step);
  return static_cast<Millionths>(std::min(wide(most_share), (wide(time) * wide(one) + whole - 1) / whole));
}

/// Appends, forgets what is old, and returns the median.
Millionths add_to_latest(Millionths value, std::vector<Millionths>& latest) {
  constexpr std::size_t num_latest = 5;
  if (latest.size() == num_latest) latest.erase(latest.begin());
  latest.push_back(value);
  std::vector<Millionths> sorted = latest;
  std::sort(sorted.begin(), sorted.end());
  return sorted[sorted.size() / 2];
}

}  // namespace

void MoveCostEstimate::add_window(std::span<const StepMeasures> measures) {
  StepMeasures most;
  for (const StepMeasures& of_rank : measures) {
    if (!is_in_range(of_rank)) throw InvalidInput("move costs: measures must be from 0 to 2^50");
    most.layer_step = std::max(most.layer_step, of_rank.layer_step);
    most.sending = std::max(most.sending, of_rank.sending);
    most.sending_steps = std::max(most.sending_steps, of_rank.sending_steps);
    most.planning = std::max(most.planning, of_rank.planning);
    most.plans = std::max(most.plans, of_rank.plans);
  }
  if (most.layer_step == 0) return;
  if (most.sending_steps > 0) {
    costs_.interference =
        add_to_latest(share(most.sending, most.sending_steps, most.layer_step), interference_);
  }
  if (most.plans > 0)
    costs_.switching = add_to_latest(share(most.planning, most.plans, most.layer_step), switching_);
}

}  // namespace moewe
