#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "launch/run_layer.hpp"
#include "launch/timeline_json.hpp"
#include "launch/timeline_records.hpp"
#include "runtime/atomic_file.hpp"

namespace moewe {

/// Records when each step of each layer ran on each rank, with its phases and what its experts' migrations
/// did, and writes it at the end of the run: see TimelineText. What it records into is taken when it is
/// constructed; while steps run, a record is some hundred bytes that are written to it. Of a run with more
/// layer steps than there is room for the latest stay.
class Timeline {
 public:
  /// Layer steps of all ranks together that are kept: a file of some 250 MB. Each rank keeps as many as the
  /// others, and `least_steps` at least.
  static constexpr std::size_t most_steps = std::size_t{1} << 18U;
  static constexpr std::size_t least_steps = 1024;
  static constexpr std::size_t most_marks = std::size_t{1} << 15U;

  /// On each rank, for at most so many steps.
  static std::size_t room_for(std::uint64_t num_steps, std::size_t num_layers, std::size_t num_ranks);

  /// Collective: begins the file, which is rank 0's, and measures how the nodes' clocks stand. Borrows the
  /// layers, which may yet have to come; `numbers` are what people call them. `records` have as much room on
  /// each rank. Throws a shared InvalidInput where the file cannot be written.
  Timeline(Communicator& communicator, std::filesystem::path path, const std::vector<RunLayer>& layers,
           std::vector<std::size_t> numbers, LatestRecords records);

  /// Local, after each step of each layer: of the i-th of them.
  void step_of_layer(std::uint64_t step, std::size_t i, const StepOutcome& outcome);

  /// Local, after what may have begun a migration, or ended one, between steps.
  void between_steps();

  /// Collective, after the last step. The others send rank 0 their records a bounded piece at a time. Throws
  /// a shared InvalidInput where the file cannot be written.
  void finish();

 private:
  TimelineSubject describe();
  /// Collective; the text is rank 0's.
  void write(const std::function<std::string()>& make_text);
  void write_steps(const TimelineText& text);
  void warn_of_what_is_left_out() const;

  Communicator& communicator_;
  std::filesystem::path path_;
  const std::vector<RunLayer>& layers_;
  std::vector<std::size_t> numbers_;
  std::optional<AtomicFile> file_;  // on rank 0
  std::vector<ClockOffset> offsets_;
  std::int64_t origin_;
  LatestRecords records_;
  EpochMarks marks_;
};

}  // namespace moewe
