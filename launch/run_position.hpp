#pragma once

#include <cstddef>
#include <fmt/format.h>
#include <string>

#include "comm/rank.hpp"
#include "comm/watch.hpp"

namespace moewe {

/// Where a rank of a run is; begins the message of an error that ends the job, and is shown to whoever
/// watches.
class RunPosition {
 public:
  /// `watch` outlives the position; null for nobody.
  explicit RunPosition(Watch* watch)
      : shown_(watch != nullptr ? &watch->status() : nullptr),
        tally_(watch != nullptr ? &watch->tally() : nullptr) {
    enter("opening");
  }

  /// `step` from 0; people are told from 1, as by the progress line. `layer` is the model's number.
  void enter_step(std::size_t step, std::size_t layer) {
    in_step_ = true;
    step_ = step;
    layer_ = layer;
    if (shown_ != nullptr) shown_->enter_step(step + 1, layer);
  }

  void leave_steps() {
    in_step_ = false;
    if (shown_ != nullptr) shown_->enter_step(0, 0);
  }

  /// A text that stays.
  void enter(const char* phase) {
    phase_ = phase;
    if (shown_ != nullptr) shown_->enter_phase(phase, RankStatus::Clock::now());
    if (tally_ != nullptr) tally_->enter(phase);
  }

  /// "step 3, layer 1", or empty outside the steps: the same on all ranks.
  std::string describe_step() const {
    return in_step_ ? fmt::format("step {}, layer {}", step_ + 1, layer_) : "";
  }

  /// "rank 2, step 3, layer 1, phase experts"
  std::string describe(Rank rank) const {
    return fmt::format("rank {}, {}{}phase {}", number(rank), describe_step(), in_step_ ? ", " : "", phase_);
  }

 private:
  RankStatus* shown_;
  WaitTally* tally_;
  const char* phase_ = "";
  bool in_step_ = false;
  std::size_t step_ = 0;
  std::size_t layer_ = 0;
};

}  // namespace moewe
