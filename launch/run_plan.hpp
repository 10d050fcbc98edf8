#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "launch/run_device.hpp"
#include "launch/run_inputs.hpp"
#include "runtime/device_step.hpp"
#include "runtime/engine.hpp"
#include "runtime/memory_plan.hpp"

namespace moewe {

/// Memory of one rank's share of a run, known before any of it is allocated.
struct RunPlan {
  MemoryPlan resident;                ///< from loading to the end
  std::size_t loading_bytes = 0;      ///< beside it, while weights are loaded
  std::size_t least_step_bytes = 0;   ///< beside it, in steps of as many rounds as there can be
  std::size_t most_step_bytes = 0;    ///< beside it, in steps of one round, wherever tokens go
  std::vector<std::string> remedies;  ///< of what somebody can do who needs less

  /// Without which the run cannot be.
  std::size_t least_bytes() const;
};

/// Local. `num_slots` of each layer's experts and `num_tokens` of each step's tokens are this rank's.
RunPlan plan_run(Engine& engine, const RunInputs& inputs, const LayerOptions& options, std::size_t num_slots,
                 std::size_t num_tokens);

/// The same for layers of these sizes on devices, whose memory counts like that of the host; with or without
/// graphs.
RunPlan plan_run_on_device(Engine& engine, const RunInputs& inputs, const DeviceSizes& sizes,
                           std::size_t num_tokens, DeviceMode mode);

/// Collective. `limit` is what this rank may use. Where a rank needs more, prints the table of the one that
/// lacks the most and throws a shared InvalidInput. Where a rank's steps might, limits the engine's memory on
/// all, so that they are run in rounds; also if `is_explicit`, the limit being what somebody asked for.
void require_fit(Engine& engine, const RunPlan& plan, std::size_t limit, bool is_explicit);

/// Under which the program's own buffers are counted.
inline constexpr const char* tokens_name = "tokens";
inline constexpr const char* results_name = "results";
inline constexpr const char* forced_routing_name = "forced routing";

}  // namespace moewe
