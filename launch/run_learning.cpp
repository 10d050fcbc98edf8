#include "launch/run_learning.hpp"

#include <utility>

#include "comm/together.hpp"
#include "launch/load_file.hpp"
#include "launch/placement_map.hpp"
#include "launch/run_loads.hpp"
#include "runtime/write_target.hpp"

namespace moewe {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds between_files{1};

}  // namespace

KeptText::KeptText(const std::filesystem::path& path)
    : path_(path), file_(std::in_place, path), is_replaceable_(find_write_target(path).is_replaceable) {}

void KeptText::write(const std::string& text, bool is_last) {
  if (!is_replaceable_ && !is_last) return;
  if (!file_) file_.emplace(path_);
  file_->append(std::as_bytes(std::span(text)));
  file_->commit();
  file_.reset();
}

RunLearning::RunLearning(Communicator& communicator, const RunInputs& inputs, const RunOptions& options,
                         std::span<const std::unique_ptr<MoeLayer>> layers)
    : communicator_(communicator), layers_(layers), numbers_(inputs.layers()) {
  together(communicator, [&] {
    if (options.keeps_loads()) {
      const LoadHistory* before = inputs.loads();
      recorder_.emplace(communicator, before != nullptr ? *before : new_history(inputs.model().config()),
                        numbers_);
      windows_kept_ = recorder_->history().num_windows_seen();
    }
    if (communicator.rank() != Rank{0}) return;
    if (options.save_placement) placement_file_.emplace(*options.save_placement);
    if (options.save_loads) loads_file_.emplace(*options.save_loads);
  });
}

void RunLearning::count(std::size_t i, const StepOutcome& outcome) {
  if (recorder_) recorder_->count(i, outcome);
}

double RunLearning::step_done(std::uint64_t step) {
  if (!recorder_) return 0;
  const Clock::time_point begun = Clock::now();
  recorder_->step_done(step);
  return std::chrono::duration<double>(Clock::now() - begun).count();
}

void RunLearning::keep() {
  if (kept_at_ && Clock::now() - *kept_at_ < between_files) return;
  keep_all(false);
}

void RunLearning::finish(std::uint64_t step) {
  if (recorder_) recorder_->finish(step);
  together(communicator_, [&] { keep_all(true); });
}

void RunLearning::keep_all(bool is_last) {
  std::vector<std::uint64_t> epochs;
  if (placement_file_) {
    for (const auto& layer : layers_) epochs.push_back(layer->placement().epoch());
  }
  const bool is_moved = epochs != epochs_kept_;
  if (placement_file_ && (is_moved || is_last)) placement_file_->write(moewe_map(placements()), is_last);
  epochs_kept_ = std::move(epochs);
  const std::uint64_t windows = recorder_ ? recorder_->history().num_windows_seen() : 0;
  const bool is_counted = loads_file_ && (windows != windows_kept_ || is_last);
  if (is_counted) loads_file_->write(to_json(recorder_->history()), is_last);
  if (is_moved || is_counted) kept_at_ = Clock::now();
  windows_kept_ = windows;
}

PlacementMap RunLearning::placements() const {
  PlacementMap map;
  for (std::size_t i = 0; i < layers_.size(); ++i) map.emplace(numbers_[i], layers_[i]->placement());
  return map;
}

std::vector<RaisedAlarm> RunLearning::alarms() const {
  return recorder_ ? recorder_->alarms() : std::vector<RaisedAlarm>{};
}

}  // namespace moewe
