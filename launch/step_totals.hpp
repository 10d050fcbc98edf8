#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "launch/run_totals.hpp"
#include "runtime/step_report.hpp"

namespace moewe {

/// What the steps that were run here did on this rank. Times in seconds.
struct StepTotals {
  std::vector<double> step_times;                ///< of each step, all layers
  std::array<double, num_phases> phase_times{};  ///< of all steps together
  std::int64_t assigned = 0;                     ///< for this rank's tokens
  std::int64_t computed = 0;                     ///< by this rank's experts
  std::vector<double> last_imbalance;            ///< per layer, last step
  AgreedTotals agreed;                           ///< with those of an earlier run that this one goes on from

  /// Before the layers of a step.
  void begin_step();

  /// After each layer of the step, in order: of its tokens on this rank `num_assigned` choices were made.
  void add(const StepReport& report, double seconds, std::size_t num_assigned);

  /// After the layers of step number `step` of the run.
  void end_step(std::size_t step);
};

}  // namespace moewe
