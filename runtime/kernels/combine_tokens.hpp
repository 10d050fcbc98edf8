#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/queue.hpp"
#include "runtime/dtype.hpp"
#include "runtime/kernels/device_count.hpp"

namespace moewe {

/// y[t] = (sum over k of weight[t, k] * output(t, k)) + addend[t], in f32 and in the order of k: the
/// bits of combine(). Any `hidden` and `top_k`; rows at any address that their type allows.
struct CombineTokens {
  const std::byte* const* outputs;  ///< [num_tokens, top_k] rows of `dtype`; null: did not come back
  const float* weights;  ///< [num_tokens, top_k]; null for partial sums, which are weighted already
  float* y;              ///< [num_tokens, hidden]
  const float* addend;   ///< the same shape, or null; may be y
  DeviceCount num_tokens;
  std::uint32_t top_k;
  std::uint32_t hidden;
  Dtype dtype;
};

extern const Kernel<CombineTokens> combine_tokens;
int launch_combine_tokens(const CombineTokens& work, StreamHandle stream);

}  // namespace moewe
