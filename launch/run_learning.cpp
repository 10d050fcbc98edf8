#include "launch/run_learning.hpp"

#include <utility>

#include "comm/together.hpp"
#include "launch/commit_text.hpp"
#include "launch/load_file.hpp"
#include "launch/placement_map.hpp"
#include "launch/run_loads.hpp"
#include "placement/stages.hpp"
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
  commit_text(*file_, text);
  file_.reset();
}

RunLearning::RunLearning(Communicator& communicator, const RunInputs& inputs, const RunOptions& options,
                         const Layers& layers, bool is_resumed)
    : communicator_(communicator), layers_(layers), numbers_(inputs.layers()), is_resumed_(is_resumed) {
  together(communicator, [&] {
    if (options.keeps_loads()) recorder_.emplace(communicator, history_before(inputs, options), numbers_);
    if (communicator.rank() != Rank{0}) return;
    if (options.save_placement) placement_file_.emplace(*options.save_placement);
    if (options.save_loads) loads_file_.emplace(*options.save_loads);
  });
}

/// On rank 0, where it is gone on with: what the run that is resumed has kept, if it came to that.
LoadHistory RunLearning::history_before(const RunInputs& inputs, const RunOptions& options) const {
  const ModelConfig& model = inputs.model().config();
  const bool goes_on = is_resumed_ && communicator_.rank() == Rank{0} && options.save_loads &&
                       std::filesystem::is_regular_file(*options.save_loads);
  LoadHistory history = goes_on                     ? read_loads_of(model, *options.save_loads)
                        : inputs.loads() != nullptr ? *inputs.loads()
                                                    : new_history(model);
  if (options.save_loads) require_loads_of(numbers_, history, options.save_loads->string());
  return history;
}

void RunLearning::begin() {
  const Placement& placement = layers_.front().placement();
  for (std::size_t rank = 0; rank < placement.num_ranks(); ++rank)
    slots_per_rank_.push_back(placement.experts_of(rank_at(rank)).size());
  if (is_resumed_) epochs_kept_ = epochs();
}

std::vector<std::uint64_t> RunLearning::epochs() const {
  std::vector<std::uint64_t> epochs;
  for (const RunLayer& layer : layers_) epochs.push_back(layer.placement().epoch());
  return epochs;
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
  const bool is_moved = placement_file_ && (epochs() != epochs_kept_ || is_last);
  if (is_moved) placement_file_->write(moewe_map(placements()), is_last);
  epochs_kept_ = epochs();
  const std::uint64_t windows = recorder_ ? recorder_->history().num_windows_seen() : 0;
  const bool is_counted = loads_file_ && (windows != windows_kept_ || is_last);
  if (is_counted) loads_file_->write(to_json(recorder_->history()), is_last);
  if (is_moved || is_counted) kept_at_ = Clock::now();
  windows_kept_ = windows;
}

PlacementMap RunLearning::placements() const {
  PlacementMap map;
  for (std::size_t i = 0; i < layers_.size(); ++i)
    map.emplace(numbers_[i], with_slots(layers_[i].placement(), slots_per_rank_));
  return map;
}

std::vector<RaisedAlarm> RunLearning::alarms() const {
  return recorder_ ? recorder_->alarms() : std::vector<RaisedAlarm>{};
}

}  // namespace moewe
