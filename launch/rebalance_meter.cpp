#include "launch/rebalance_meter.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace moewe {
namespace {

/// Cut off where estimates take no more.
std::int64_t picoseconds(double seconds) {
  constexpr double longest = 1e3;
  return std::llround(std::clamp(seconds, 0.0, longest) * 1e12);
}

}  // namespace

void RebalanceMeter::count(const StepReport& report, double seconds) {
  constexpr std::int64_t least_rows = 16;
  for (const std::int64_t rows : report.computed_per_slot) {
    if (rows > 0) work_ += static_cast<double>(std::max(rows, least_rows));
  }
  const std::int64_t own =
      std::accumulate(report.own_per_expert.begin(), report.own_per_expert.end(), std::int64_t{0});
  const double tokens = static_cast<double>(own) / static_cast<double>(spec_.router.top_k);
  work_ += tokens * static_cast<double>(spec_.shared_intermediate) /
           static_cast<double>(spec_.expert.intermediate);
  expert_seconds_ += report.seconds[static_cast<std::size_t>(Phase::experts)];
  layer_seconds_ += seconds;
  ++num_layer_steps_;
}

void RebalanceMeter::step_done(const Between& between) {
  if (work_ > 0) times_of_work_.push_back(expert_seconds_ / work_);
  expert_seconds_ = work_ = 0;
  sending_ = between.sending;
  if (between.is_moving) ++sending_steps_;
  ++num_steps_;
}

void RebalanceMeter::plan_done(double seconds) {
  planning_ += seconds;
  ++num_plans_;
}

WindowMeasures RebalanceMeter::take_window() {
  WindowMeasures measures;
  if (2 * times_of_work_.size() >= steps_of_window) {
    const auto middle = times_of_work_.begin() + static_cast<std::ptrdiff_t>(times_of_work_.size() / 2);
    std::nth_element(times_of_work_.begin(), middle, times_of_work_.end());
    measures.work = std::clamp<std::int64_t>(picoseconds(*middle), 1, std::int64_t{1} << 40U);
  }
  if (num_layer_steps_ > 0)
    measures.steps.layer_step = picoseconds(layer_seconds_ / static_cast<double>(num_layer_steps_));
  measures.steps.sending = picoseconds(sending_ - sending_before_);
  measures.steps.sending_steps = sending_steps_;
  measures.steps.planning = picoseconds(planning_);
  measures.steps.plans = num_plans_;
  const double sending = sending_;
  *this = RebalanceMeter(spec_);
  sending_ = sending_before_ = sending;
  return measures;
}

}  // namespace moewe
