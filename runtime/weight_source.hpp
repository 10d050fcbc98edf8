#pragma once

#include <cstddef>
#include <span>

#include "placement/expert_id.hpp"

namespace moewe {

/// Where one expert's matrices are written to; all row-major.
struct ExpertMatrices {
  std::span<float> gate;  ///< [intermediate, hidden]
  std::span<float> up;    ///< [intermediate, hidden]
  std::span<float> down;  ///< [hidden, intermediate]
};

/// Where a layer's weights come from. A rank asks for the router and for the experts that it owns, and for
/// nothing else. Throws InvalidInput when a tensor is missing or has another shape.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  /// [num_experts, hidden], row-major.
  virtual void read_router(std::span<float> weights) const = 0;
  virtual void read_expert(ExpertId expert, const ExpertMatrices& matrices) const = 0;
};

}  // namespace moewe
