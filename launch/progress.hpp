#pragma once

#include <chrono>
#include <cstddef>

namespace moewe {

/// Tells a person how far a run has come: one line that is overwritten on a terminal, in a log a line now and
/// then. Its tokens per second are those of the steps alone, as in the summary. Rank 0 uses it.
class Progress {
 public:
  /// `num_done` of all steps are done already.
  Progress(std::size_t num_done, std::size_t num_steps, std::size_t tokens_per_step, bool on_terminal);

  /// Throws InvalidInput where standard output cannot be written.
  void step_done(double step_seconds, double imbalance);

 private:
  using Clock = std::chrono::steady_clock;

  std::size_t first_;
  std::size_t num_steps_;
  std::size_t tokens_per_step_;
  bool on_terminal_;
  std::size_t num_done_ = first_;
  double seconds_ = 0;
  Clock::time_point last_shown_ = Clock::now();
};

}  // namespace moewe
