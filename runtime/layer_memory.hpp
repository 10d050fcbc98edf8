#pragma once

#include <cstddef>

#include "runtime/kernels/matmul.hpp"
#include "runtime/layer_options.hpp"
#include "runtime/layer_spec.hpp"
#include "runtime/memory_plan.hpp"

namespace moewe {

/// What one layer takes on one rank, beside its steps.
struct LayerMemory {
  MemoryPlan weights;  ///< as long as the layer lives

  /// What the rank's threads compute in, and what migrating experts travel in; layers of one engine share it.
  MemoryPlan shared;

  /// While the layer is constructed, beside the above.
  std::size_t loading_bytes = 0;
};

/// A rank's part in a layer.
struct LayerShare {
  std::size_t num_slots = 0;  ///< of the rank, spare and staging ones not counted
  std::size_t num_threads = 1;
  std::size_t num_ranks = 1;  ///< of the layer
};

/// For a layer with weights of its own: what its construction allocates is no more and no less. Allocates
/// nothing large.
LayerMemory plan_layer(const LayerSpec& spec, const LayerOptions& options, const LayerShare& share,
                       MatmulCache& matmuls);

/// Names under which weights are counted.
inline constexpr const char* expert_weights_name = "expert weights";
inline constexpr const char* shared_expert_weights_name = "shared expert weights";
inline constexpr const char* router_weights_name = "router weights";
inline constexpr const char* loading_name = "weights being packed";

}  // namespace moewe
