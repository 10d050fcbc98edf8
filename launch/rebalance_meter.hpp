#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "placement/move_costs.hpp"
#include "runtime/layer_spec.hpp"
#include "runtime/step_report.hpp"

namespace moewe {

/// What one rank measured in a window of steps. Ranks send it to one another as it is.
struct WindowMeasures {
  std::int64_t work = 0;  ///< picoseconds that experts took for one unit of work; 0: there was too little
  StepMeasures steps;
};

/// Measures, on one rank and window by window, what a run's decisions to move experts may go by.
///
/// How fast the rank computes is told by the time in the phase `experts` over its work, of each step, and of
/// a window's steps by the median: whatever else has the cores now and then does not count. Work is rows, but
/// an active expert has 16 at least, since reading its weights takes as long as these; a token that passes
/// the shared expert counts as its width over that of an expert.
class RebalanceMeter {
 public:
  static constexpr std::size_t steps_of_window = 16;

  explicit RebalanceMeter(const LayerSpec& spec) : spec_(spec) {}

  /// In each step for each layer: what it did, in `seconds`.
  void count(const StepReport& report, double seconds);

  /// What of a step is between its layers.
  struct Between {
    double sending = 0;      ///< seconds that layers' migrations took, in all steps so far
    bool is_moving = false;  ///< experts were on their way in this step
  };
  void step_done(const Between& between);

  /// A plan has been carried out; `seconds` are those of deciding on it and beginning its stages.
  void plan_done(double seconds);

  bool is_window_over() const { return num_steps_ == steps_of_window; }

  /// Begins the next one.
  WindowMeasures take_window();

 private:
  LayerSpec spec_;
  double expert_seconds_ = 0;  // of this step, as is work_
  double work_ = 0;
  std::vector<double> times_of_work_;  // of this window's steps
  double layer_seconds_ = 0;           // of this window, as are all others
  std::size_t num_layer_steps_ = 0;
  std::size_t num_steps_ = 0;
  double sending_before_ = 0;  // when it began
  double sending_ = 0;
  std::int64_t sending_steps_ = 0;
  double planning_ = 0;
  std::int64_t num_plans_ = 0;
};

}  // namespace moewe
