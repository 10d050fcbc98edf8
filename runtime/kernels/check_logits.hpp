#pragma once

#include <cstdint>

#include "comm/queue.hpp"
#include "runtime/kernels/device_count.hpp"

namespace moewe {

/// Finds the first token with a logit that is not finite, and makes 0 of all such, which are harmless to what
/// comes behind.
struct CheckLogits {
  float* logits;             ///< [num_tokens, num_experts]
  std::uint32_t* bad_token;  ///< becomes that token, where it is lower than what stands there
  DeviceCount num_tokens;
  std::uint32_t num_experts;
};

extern const Kernel<CheckLogits> check_logits;
int launch_check_logits(const CheckLogits& work, StreamHandle stream);

}  // namespace moewe
