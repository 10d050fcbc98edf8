#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launch/load_recorder.hpp"
#include "launch/run_inputs.hpp"
#include "launch/run_layer.hpp"
#include "runtime/atomic_file.hpp"

namespace moewe {

/// A file that is written anew whenever there is something to keep: whoever reads it finds a whole one.
class KeptText {
 public:
  /// Begins the file. Throws InvalidInput where it cannot be written.
  explicit KeptText(const std::filesystem::path& path);

  /// Replaces what was there. Where that cannot be, as with /dev/stdout, only the last one is written.
  /// Throws InvalidInput.
  void write(const std::string& text, bool is_last);

 private:
  std::filesystem::path path_;
  std::optional<AtomicFile> file_;  // begun, and not written
  bool is_replaceable_;
};

/// What a run learns beside its results, for those who come after it: loads, and what is alarming about them,
/// and where experts have come to be. Rank 0 keeps it in files, at most once a second.
class RunLearning {
 public:
  using Layers = std::vector<RunLayer>;

  /// Collective. Begins the files; borrows the layers, which may yet have to come. A run that goes on from
  /// what an earlier one kept, `is_resumed`, goes on from its loads. Throws a shared InvalidInput where a
  /// file cannot be written or gone on from.
  RunLearning(Communicator& communicator, const RunInputs& inputs, const RunOptions& options,
              const Layers& layers, bool is_resumed);

  /// Local, before the first step, once the layers are there.
  void begin();

  /// Local, in each step for the i-th of the layers.
  void count(std::size_t i, const StepOutcome& outcome);

  /// Collective, after each step. Returns the seconds that it took, but for those of keep().
  double step_done(std::uint64_t step);

  /// Local. What has changed since it was kept. Throws InvalidInput where a file cannot be written.
  void keep();

  /// Collective, after the last step, once no expert is on its way.
  void finish(std::uint64_t step);

  /// On rank 0.
  std::vector<RaisedAlarm> alarms() const;

 private:
  LoadHistory history_before(const RunInputs& inputs, const RunOptions& options) const;
  std::vector<std::uint64_t> epochs() const;
  void keep_all(bool is_last);
  /// As a run can begin with them: all layers with as many slots, whatever second copies have been dropped.
  PlacementMap placements() const;

  Communicator& communicator_;
  const Layers& layers_;
  std::vector<std::size_t> numbers_;
  std::vector<std::size_t> slots_per_rank_;  // at the beginning, of all layers alike
  bool is_resumed_;
  std::optional<LoadRecorder> recorder_;
  std::optional<KeptText> placement_file_;  // on rank 0, as is the other
  std::optional<KeptText> loads_file_;
  std::vector<std::uint64_t> epochs_kept_;  // of each layer; none yet
  std::optional<std::uint64_t> windows_kept_;
  std::optional<std::chrono::steady_clock::time_point> kept_at_;
};

}  // namespace moewe
