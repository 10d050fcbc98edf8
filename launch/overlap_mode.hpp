#pragma once

#include <chrono>
#include <cstddef>
#include <span>
#include <vector>

#include "runtime/moe_layer.hpp"

namespace moewe {

/// What is done while rows travel.
enum class OverlapMode {
  off,     ///< nothing
  shared,  ///< the shared expert, and experts whose rows are there, are computed
  half,    ///< the same; and each step is two half-batches, of which one is computed while the other travels
};

/// Parts of a step that are in flight at a time: lanes that the engine needs.
constexpr std::size_t parts_of_step(OverlapMode mode) { return mode == OverlapMode::half ? 2 : 1; }

/// What one step of one layer did on this rank.
struct StepOutcome {
  std::chrono::steady_clock::time_point begun;
  double seconds = 0;
  StepReport report;
  std::vector<Routing> routings;  ///< of the step's parts, in order; valid as MoeLayer::routing()
};

/// Collective and blocking: one step of a layer whose LayerOptions::overlap is as the mode has it. `routing`
/// is null where the router chooses. Throws as MoeLayer::forward does.
StepOutcome run_step(MoeLayer& layer, OverlapMode mode, TokenRows x, const Routing* routing,
                     std::span<float> y);

}  // namespace moewe
