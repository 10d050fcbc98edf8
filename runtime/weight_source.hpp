#pragma once

#include <cstddef>
#include <span>

#include "comm/error.hpp"
#include "placement/expert_id.hpp"

namespace moewe {

/// Where one expert's matrices are written to; all row-major f32.
struct ExpertMatrices {
  std::span<float> gate;  ///< [intermediate, hidden]; empty for experts with two matrices
  std::span<float> up;    ///< [intermediate, hidden]
  std::span<float> down;  ///< [hidden, intermediate]
};

/// Where a layer's weights come from. A rank asks for the router, for the shared expert and for the experts
/// that it owns, and for nothing else. Throws InvalidInput when a tensor is missing or has another shape.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  /// [num_experts, hidden], row-major.
  virtual void read_router(std::span<float> weights) const = 0;
  virtual void read_expert(ExpertId expert, const ExpertMatrices& matrices) const = 0;

  /// [num_experts]. Asked for only where the layer's router has a selection bias.
  virtual void read_selection_bias(std::span<float> /*bias*/) const {
    throw InvalidInput("these weights hold no selection bias");
  }

  /// Asked for only where the layer has shared experts.
  virtual void read_shared_expert(const ExpertMatrices& /*matrices*/) const {
    throw InvalidInput("these weights hold no shared expert");
  }
};

}  // namespace moewe
