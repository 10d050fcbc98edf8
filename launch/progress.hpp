#pragma once

#include <chrono>
#include <cstddef>

namespace moewe {

/// Tells a person how far a run has come: one line that is overwritten on a terminal, in a log a line now and
/// then. Rank 0 uses it.
class Progress {
 public:
  Progress(std::size_t num_steps, std::size_t tokens_per_step, bool on_terminal);

  /// After each step.
  void step_done(double imbalance);

 private:
  using Clock = std::chrono::steady_clock;

  std::size_t num_steps_;
  std::size_t tokens_per_step_;
  bool on_terminal_;
  std::size_t num_done_ = 0;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_shown_;
};

}  // namespace moewe
