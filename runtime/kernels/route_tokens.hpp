#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/queue.hpp"
#include "placement/expert_id.hpp"
#include "runtime/kernels/device_count.hpp"
#include "runtime/layer_spec.hpp"

namespace moewe {

/// The choice of each token from its logits, as Router makes it, with the same ties. Scores are those of
/// Router but for its exponential: within 3e-6 of their value, or 1e-37. From the same scores come the same
/// experts and weights, bit by bit.
///
/// Logits and biases are finite. On a GPU 8 * (num_experts + num_groups) bytes are at most 48 KiB.
struct RouteTokens {
  const float* logits;          ///< [num_tokens, num_experts]
  const float* selection_bias;  ///< [num_experts], or null
  float* selection;             ///< [num_tokens, num_experts]: what experts are selected by; may be `logits`
  float* scores;                ///< the same shape: without bias, of all experts; may not be `selection`
  ExpertId* experts;            ///< [num_tokens, top_k], best first
  float* weights;               ///< [num_tokens, top_k]
  DeviceCount num_tokens;
  std::uint32_t num_experts;
  RouterSpec spec;
};

extern const Kernel<RouteTokens> route_tokens;
int launch_route_tokens(const RouteTokens& work, StreamHandle stream);

}  // namespace moewe
