#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "comm/clock_offsets.hpp"
#include "comm/topology.hpp"
#include "launch/timeline_records.hpp"

namespace moewe {

/// What a timeline is of, and what it lacks.
struct TimelineSubject {
  Topology topology;
  std::vector<std::string> hosts;    ///< of each node
  std::vector<ClockOffset> offsets;  ///< of each node
  std::int64_t origin = 0;           ///< on rank 0's clock, where the timeline begins
  std::vector<std::size_t> layers;   ///< numbers of the run's layers, as people call them
  std::size_t steps_left_out = 0;    ///< layer steps of each rank, the oldest
  std::size_t marks_left_out = 0;    ///< the latest
};

/// A run's steps in the trace event format of Chrome (the JSON object form), which Perfetto and
/// chrome://tracing show; written piece by piece: head, any number of the others, tail. All is UTF-8, times
/// are in microseconds, with three digits behind the point.
///
/// Each node is a process, each rank a thread of it. On a rank's track lies a complete event for each step of
/// each layer (category `step`), and in it one for each phase (category `phase`), in the order of a step's
/// calls: where phases took turns, as chunks of rows do, all parts of one are drawn together. Counters tell
/// the rows that each rank computed, and each layer's imbalance; instant events (category `epoch`) when a
/// layer's way to an epoch began and how it ended. Steps count from 1.
class TimelineText {
 public:
  /// Borrows the subject.
  explicit TimelineText(const TimelineSubject& subject) : subject_(subject) {}

  std::string head() const;
  std::string steps(Rank rank, std::span<const LayerStepRecord> records) const;
  /// As rank 0 saw them.
  std::string epochs(std::span<const EpochMark> marks) const;
  std::string tail() const { return "\n]}\n"; }

 private:
  std::string event(const char* phase, Rank rank, std::int64_t time) const;
  void add_step(Rank rank, const LayerStepRecord& record, std::string& text) const;
  void add_counters(Rank rank, const LayerStepRecord& record, std::string& text) const;

  const TimelineSubject& subject_;
};

}  // namespace moewe
