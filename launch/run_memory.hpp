#pragma once

#include <cstddef>

#include "comm/device.hpp"
#include "launch/run_inputs.hpp"
#include "launch/run_plan.hpp"
#include "runtime/engine.hpp"

namespace moewe {

struct RunOptions;

/// Collective. What this rank needs of host and device, null for layers on cores; limits the engine's memory
/// where that is more than its share of what is there. Throws a shared InvalidInput, after a table of the
/// memory, where the run cannot be had (require_fit).
RunPlan plan_memory(Engine& engine, const RunInputs& inputs, const RunOptions& options, const Device* device);

/// Bytes that the run was planned to need on this rank, with what its steps until now were planned to.
std::size_t planned_bytes(const RunPlan& plan, const Engine& engine);

}  // namespace moewe
