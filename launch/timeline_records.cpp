#include "launch/timeline_records.hpp"

#include <algorithm>
#include <numeric>

namespace moewe {
namespace {

std::int64_t nanoseconds(double seconds) { return static_cast<std::int64_t>(seconds * 1e9); }

std::int64_t ticks(std::chrono::steady_clock::time_point time) {
  return std::chrono::nanoseconds(time.time_since_epoch()).count();
}

}  // namespace

LayerStepRecord record_of(std::uint64_t step, std::size_t layer, const StepOutcome& outcome) {
  const StepReport& report = outcome.report;
  LayerStepRecord record;
  record.begun = ticks(outcome.begun);
  record.length = nanoseconds(outcome.seconds);
  std::transform(report.seconds.begin(), report.seconds.end(), record.phases.begin(), nanoseconds);
  record.step = step;
  record.layer = layer;
  record.epoch = report.epoch;
  record.rows =
      std::accumulate(report.computed_per_slot.begin(), report.computed_per_slot.end(), std::int64_t{0});
  record.imbalance = imbalance(report.assignments_per_rank);
  return record;
}

EpochMarks::EpochMarks(std::size_t num_layers, std::size_t capacity) : seen_(num_layers) {
  marks_.reserve(capacity);
}

void EpochMarks::look_at(std::size_t layer, const MigrationReport& report,
                         std::chrono::steady_clock::time_point now) {
  Seen& seen = seen_[layer];
  const auto mark = [&](EpochEvent event) {
    if (marks_.size() == marks_.capacity()) {
      ++num_left_out_;
      return;
    }
    marks_.push_back({ticks(now), event, layer, report.to_epoch, report.num_moves, report.num_bytes});
  };
  const bool is_moving = is_under_way(report.state);
  if (is_moving && !seen.is_under_way) mark(EpochEvent::begun);
  if (report.num_switched != seen.num_switched) mark(EpochEvent::switched);
  if (report.num_cancelled != seen.num_cancelled) mark(EpochEvent::cancelled);
  seen = {is_moving, report.num_switched, report.num_cancelled};
}

}  // namespace moewe
