#pragma once

#include <cstddef>
#include <optional>
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
  std::size_t gpu_bytes = 0;          ///< of what is resident and of steps, in a GPU's memory
  std::size_t nccl_bytes = 0;         ///< beside that in a GPU's memory, estimated and not counted
  std::vector<std::string> remedies;  ///< of what somebody can do who needs less

  /// Without which the run cannot be, host and GPU together.
  std::size_t least_bytes() const;

  /// The same on the host, where weights are loaded by way of it, and at most, wherever tokens go.
  std::size_t least_host_bytes() const;
  std::size_t most_host_bytes() const;
};

/// Local. `num_slots` of each layer's experts and `num_tokens` of each step's tokens are this rank's.
RunPlan plan_run(Engine& engine, const RunInputs& inputs, const LayerOptions& options, std::size_t num_slots,
                 std::size_t num_tokens);

/// What a rank does on a device.
struct DeviceShare {
  std::size_t num_tokens;
  DeviceMode mode;
  bool is_on_gpu;                 ///< an emulated device's memory is that of the host
  bool has_capacity;              ///< what it leaves is decided on the host
  std::size_t staging_slots = 0;  ///< of each layer; experts migrate where there are any
  std::size_t staging_bytes = 0;  ///< pinned, for messages of rows and of weights
  std::size_t nccl_bytes = 0;     ///< that NCCL takes of the GPU's memory, estimated
};

/// The same for layers of these sizes on devices.
RunPlan plan_run_on_device(Engine& engine, const RunInputs& inputs, const DeviceSizes& sizes,
                           const DeviceShare& share);

/// Bytes that a rank may use.
struct MemoryLimits {
  std::size_t host = 0;
  std::size_t gpu = 0;
  std::optional<std::size_t> asked_for;  ///< of both together, instead of the host's
};

/// Collective. Where a rank needs more than it may use, prints the table of the one that lacks the most and
/// throws a shared InvalidInput. Where a rank's steps might, or where somebody asked for a limit, limits the
/// engine's memory on all, so that steps are run in rounds.
void require_fit(Engine& engine, const RunPlan& plan, const MemoryLimits& limits);

/// Under which the program's own buffers are counted.
inline constexpr const char* tokens_name = "tokens";
inline constexpr const char* results_name = "results";
inline constexpr const char* forced_routing_name = "forced routing";

}  // namespace moewe
