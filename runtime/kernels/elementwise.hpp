#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace moewe {

/// Element by element in a fixed order and without contraction, so that the bits are the same on every
/// machine of one instruction set.

/// hidden[i] = silu(gate[i]) * up[i], with silu(t) = t / (1 + exp(-t)).
void silu_multiply(std::span<const float> gate, std::span<const float> up, std::span<float> hidden);

/// sum[i] += weight * row[i].
void add_weighted(float weight, std::span<const float> row, std::span<float> sum);

/// f32 from the upper halves of f32 values.
void widen_bf16(std::span<const std::uint16_t> bf16, std::span<float> f32);

}  // namespace moewe
