#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/communicator.hpp"
#include "launch/overlap_mode.hpp"
#include "placement/load_alarms.hpp"
#include "placement/load_history.hpp"

namespace moewe {

/// That a layer's loads look like an attack or a collapse.
struct RaisedAlarm {
  std::size_t layer = 0;   ///< the model's number
  std::uint64_t step = 0;  ///< the last of the window in which it was noticed
  LoadAlarm alarm;
};

/// As JSON has it.
const char* name_of(LoadAlarmKind kind);

/// Counts the loads of a run, window by window: of each layer and expert by the rank whose tokens they are,
/// where there are few enough ranks. The history counts what was computed, alarms judge what was routed. A
/// history that becomes too long for its sums goes on with its newest windows alone.
class LoadRecorder {
 public:
  /// In one window; in the last one of a run there may be fewer.
  static constexpr std::size_t steps_of_window = 16;
  /// Windows whose sum alarms are judged by, beside each window alone: what takes many counts to be sure of.
  static constexpr std::size_t most_recent = 64;
  /// Of more, only sums are gathered.
  static constexpr std::size_t most_sources = 64;

  /// Local. `history` is of the whole model, and gone on with on rank 0; that of `layers`, the model's
  /// numbers, changes.
  LoadRecorder(Communicator& communicator, LoadHistory history, std::vector<std::size_t> layers);

  /// Local, once in each step for each of the layers: i is its place among them.
  void count(std::size_t i, const StepOutcome& outcome);

  /// Collective, after each step: ends the window where that is due.
  void step_done(std::uint64_t step);

  /// Collective, after the last step.
  void finish(std::uint64_t step);

  /// On rank 0, as is alarms(): what is told of each layer and kind once.
  const LoadHistory& history() const { return history_; }
  const std::vector<RaisedAlarm>& alarms() const { return alarms_; }

 private:
  /// Of this rank's tokens in this window, [layers][experts] in one row.
  using Counts = std::vector<std::int64_t>;

  void end_window(std::uint64_t step);
  std::vector<Counts> gather(const Counts& mine) const;
  void examine(std::uint64_t step, std::span<const Counts> routed);
  void add_to_recent(std::span<const Counts> routed);
  void raise(std::size_t layer, std::uint64_t step, const LoadAlarm& alarm);
  void add_to_history(std::span<const Counts> kept);

  Communicator& communicator_;
  LoadHistory history_;
  std::vector<std::size_t> layers_;
  Counts routed_;
  Counts kept_;
  bool is_bounded_ = false;  // what is kept may be less than what was routed
  std::size_t num_steps_ = 0;
  std::vector<Counts> recent_;  // routed, by source, since a multiple of most_recent windows
  std::size_t num_recent_ = 0;
  std::vector<RaisedAlarm> alarms_;
};

}  // namespace moewe
