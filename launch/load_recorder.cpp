#include "launch/load_recorder.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <functional>
#include <utility>

#include "comm/log.hpp"
#include "comm/together.hpp"
#include "placement/history_upkeep.hpp"

namespace moewe {
namespace {

std::size_t num_sources_of(const Communicator& communicator) {
  return communicator.size() <= LoadRecorder::most_sources ? communicator.size() : 0;
}

/// The row of a layer, at its place among the layers of a run.
std::span<std::int64_t> row_of(std::span<std::int64_t> counts, std::size_t i, std::size_t num_experts) {
  return counts.subspan(i * num_experts, num_experts);
}
std::span<const std::int64_t> row_of(std::span<const std::int64_t> counts, std::size_t i,
                                     std::size_t num_experts) {
  return counts.subspan(i * num_experts, num_experts);
}

void add_kept(const StepOutcome& outcome, std::span<std::int64_t> row) {
  for (const Routing& routing : outcome.routings) {
    for (const ExpertId expert : routing.experts) {
      if (expert != no_expert) ++row[index(expert)];
    }
  }
}

}  // namespace

const char* name_of(LoadAlarmKind kind) {
  switch (kind) {
    case LoadAlarmKind::utilisation:
      return "utilisation";
    case LoadAlarmKind::entropy:
      return "entropy";
    case LoadAlarmKind::cold:
      return "cold";
    case LoadAlarmKind::source:
      return "source";
  }
  return "";
}

LoadRecorder::LoadRecorder(Communicator& communicator, LoadHistory history, std::vector<std::size_t> layers)
    : communicator_(communicator),
      history_(with_sources(with_newest_windows(history, HistoryOptions{}.num_windows),
                            num_sources_of(communicator))),
      layers_(std::move(layers)),
      routed_(layers_.size() * history_.num_experts(), 0),
      kept_(routed_) {}

void LoadRecorder::count(std::size_t i, const StepOutcome& outcome) {
  const std::size_t num_experts = history_.num_experts();
  const std::span<std::int64_t> row = row_of(std::span(routed_), i, num_experts);
  const auto& own = outcome.report.own_per_expert;
  std::transform(row.begin(), row.end(), own.begin(), row.begin(), std::plus<>());
  is_bounded_ = outcome.report.overflow.has_value();
  if (is_bounded_) add_kept(outcome, row_of(std::span(kept_), i, num_experts));
}

void LoadRecorder::step_done(std::uint64_t step) {
  if (++num_steps_ == steps_of_window) end_window(step);
}

void LoadRecorder::finish(std::uint64_t step) {
  if (num_steps_ > 0) end_window(step);
}

void LoadRecorder::end_window(std::uint64_t step) {
  const std::vector<Counts> routed = gather(routed_);
  const std::vector<Counts> kept = is_bounded_ ? gather(kept_) : routed;
  together(communicator_, [&] {
    if (communicator_.rank() != Rank{0}) return;
    examine(step, routed);
    add_to_recent(routed);
    examine(step, recent_);
    add_to_history(kept);
  });
  std::fill(routed_.begin(), routed_.end(), 0);
  std::fill(kept_.begin(), kept_.end(), 0);
  num_steps_ = 0;
}

/// Collective. On rank 0 one for each source, or the sum of all.
std::vector<LoadRecorder::Counts> LoadRecorder::gather(const Counts& mine) const {
  if (num_sources_of(communicator_) == 0) {
    std::vector<Counts> sum{mine};
    communicator_.all_reduce({.sums = sum.front(), .minima = {}, .maxima = {}});
    return sum;
  }
  const std::vector<std::byte> all = communicator_.gather(std::as_bytes(std::span(mine)), Rank{0});
  std::vector<Counts> sources;
  const std::size_t num_bytes = mine.size() * sizeof(std::int64_t);
  for (std::size_t at = 0; at < all.size(); at += num_bytes) {
    std::memcpy(sources.emplace_back(mine.size()).data(), all.data() + at, num_bytes);
  }
  return sources;
}

void LoadRecorder::examine(std::uint64_t step, std::span<const Counts> routed) {
  const std::size_t num_experts = history_.num_experts();
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    Counts counts;  // [sources][experts]
    for (const Counts& source : routed) {
      const auto row = row_of(std::span(source), i, num_experts);
      counts.insert(counts.end(), row.begin(), row.end());
    }
    for (const LoadAlarm& alarm : examine_loads(counts, routed.size()).alarms) raise(layers_[i], step, alarm);
  }
}

void LoadRecorder::add_to_recent(std::span<const Counts> routed) {
  if (num_recent_++ % most_recent == 0) recent_.assign(routed.size(), Counts(routed.front().size(), 0));
  for (std::size_t source = 0; source < routed.size(); ++source) {
    std::transform(recent_[source].begin(), recent_[source].end(), routed[source].begin(),
                   recent_[source].begin(), std::plus<>());
  }
}

void LoadRecorder::raise(std::size_t layer, std::uint64_t step, const LoadAlarm& alarm) {
  const bool is_known = std::any_of(alarms_.begin(), alarms_.end(), [&](const RaisedAlarm& raised) {
    return raised.layer == layer && raised.alarm.kind == alarm.kind;
  });
  if (is_known) return;
  alarms_.push_back({layer, step, alarm});
  log(LogLevel::warning, fmt::format("layer {}, until step {}: {}", layer, step + 1, alarm.sentence));
}

void LoadRecorder::add_to_history(std::span<const Counts> kept) {
  const std::size_t num_experts = history_.num_experts();
  const LoadTable none(history_.num_layers(), Counts(num_experts, 0));
  std::vector<LoadTable> tables;
  for (const Counts& source : kept) {
    LoadTable& table = tables.emplace_back(none);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const auto row = row_of(std::span(source), i, num_experts);
      table[layers_[i]].assign(row.begin(), row.end());
    }
  }
  history_ = with_room_for(std::move(history_), tables);
  if (history_.options().num_sources == 0) {
    history_.add(tables.front());
  } else {
    history_.add_by_source(tables);
  }
}

}  // namespace moewe
