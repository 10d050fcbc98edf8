#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "placement/expert_id.hpp"

namespace moewe {

/// Which experts a rank's tokens chose, and with which weight: row-major [num_tokens, top_k], best first.
struct Routing {
  std::size_t num_tokens = 0;
  std::size_t top_k = 0;
  std::vector<ExpertId> experts;
  std::vector<float> weights;

  /// Of all experts, [num_tokens, num_experts]; empty when the choice came from the caller.
  std::vector<float> scores;
};

/// Assignments per expert. Throws InvalidInput, naming the token, when sizes do not fit together or an id is
/// not between 0 and num_experts - 1.
std::vector<std::int64_t> count_assignments(const Routing& routing, std::size_t num_experts);

}  // namespace moewe
