#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/buffer.hpp"
#include "launch/overlap_mode.hpp"
#include "runtime/migration.hpp"

namespace moewe {

/// One step of one layer on one rank. Ranks send it to one another as it is. Times are in nanoseconds, of the
/// rank's steady clock.
struct LayerStepRecord {
  std::int64_t begun = 0;
  std::int64_t length = 0;
  std::array<std::int64_t, num_phases> phases{};  ///< lengths; of all parts of a phase together
  std::uint64_t step = 0;                         ///< of the run, from 0
  std::uint64_t layer = 0;                        ///< its place among the run's layers
  std::uint64_t epoch = 0;                        ///< of the placement
  std::int64_t rows = 0;                          ///< that the rank computed
  double imbalance = 0;                           ///< of all ranks' rows

  bool operator==(const LayerStepRecord&) const = default;
};

LayerStepRecord record_of(std::uint64_t step, std::size_t layer, const StepOutcome& outcome);

/// Under which the memory of records is counted.
inline constexpr const char* timeline_name = "timeline";

/// The latest records, in memory that is taken at once.
class LatestRecords {
 public:
  /// `capacity` is 1 or more. Throws as Buffer does.
  LatestRecords(MemoryMeter& meter, std::size_t capacity)
      : capacity_(capacity), records_(meter, timeline_name, bytes_for(capacity)) {}

  static constexpr std::size_t bytes_for(std::size_t capacity) { return capacity * sizeof(LayerStepRecord); }

  void add(const LayerStepRecord& record) {
    records_.as<LayerStepRecord>(capacity_)[num_added_++ % capacity_] = record;
  }

  std::size_t size() const { return num_added_ < capacity_ ? num_added_ : capacity_; }
  std::size_t num_left_out() const { return num_added_ - size(); }

  /// From 0, the oldest.
  const LayerStepRecord& operator[](std::size_t i) const {
    return records_.as<LayerStepRecord>(capacity_)[(num_left_out() + i) % capacity_];
  }

 private:
  std::size_t capacity_;
  Buffer records_;
  std::size_t num_added_ = 0;
};

enum class EpochEvent : std::uint8_t { begun, switched, cancelled };

/// What became of a layer's way to an epoch.
struct EpochMark {
  std::int64_t at = 0;  ///< as the times of records
  EpochEvent event = EpochEvent::begun;
  std::size_t layer = 0;    ///< its place among the run's layers
  std::uint64_t epoch = 0;  ///< to which it went
  std::size_t moves = 0;    ///< experts that go from one rank to another
  std::size_t bytes = 0;    ///< of these

  bool operator==(const EpochMark&) const = default;
};

/// Marks the epochs of a run's layers, in memory that is taken at once: the first `capacity` marks.
class EpochMarks {
 public:
  EpochMarks(std::size_t num_layers, std::size_t capacity);

  /// After each step of the layer, and after each call that may begin a migration: marks what has changed
  /// since.
  void look_at(std::size_t layer, const MigrationReport& report, std::chrono::steady_clock::time_point now);

  std::span<const EpochMark> marks() const { return marks_; }
  std::size_t num_left_out() const { return num_left_out_; }

 private:
  struct Seen {
    bool is_under_way = false;
    std::size_t num_switched = 0;
    std::size_t num_cancelled = 0;
  };

  std::vector<Seen> seen_;  // of each layer
  std::vector<EpochMark> marks_;
  std::size_t num_left_out_ = 0;
};

}  // namespace moewe
