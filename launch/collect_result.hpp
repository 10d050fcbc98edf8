#pragma once

#include "launch/run_plan.hpp"
#include "launch/run_result.hpp"
#include "launch/step_loop.hpp"

namespace moewe {

/// What the result of a run is collected of, once all steps have been run. All borrowed.
struct EndedRun {
  Engine& engine;
  const RunInputs& inputs;
  const RunOptions& options;
  const RunDevice& device;
  const RunPlan& plan;
  StepLoop& loop;
};

/// Collective. Whole on rank 0; the others lack paths, waits and the digest of the outputs, which it ends.
RunResult collect_result(const EndedRun& run);

}  // namespace moewe
