#pragma once

#include <cstddef>
#include <span>

#include "runtime/dtype.hpp"
#include "runtime/layer_spec.hpp"

namespace moewe {

// Element by element in a fixed order and without contraction, so that the bits are the same on every machine
// of one instruction set.

/// hidden[i] = activation(gate[i]) * up[i]. `hidden` may begin where `gate` does. Errors of silu(t) stay
/// below 1e-6 of the value and those of gelu(t) below 2e-5, since it passes errors of its argument on to an
/// exponential (below 1e-6 for t >= -3); or below 2e-38 |t|, for t so low that the exponential is cut.
void activate_gated(Activation activation, std::span<const float> gate, std::span<const float> up,
                    std::span<float> hidden);

/// hidden[i] = activation(up[i]). `hidden` may be `up`.
void activate(Activation activation, std::span<const float> up, std::span<float> hidden);

void widen_bf16(std::span<const Bf16> bf16, std::span<float> f32);

/// Each to the nearest, ties to even.
void round_to_bf16(std::span<const float> f32, std::span<Bf16> bf16);

/// The same, kept as f32.
void round_in_place_to_bf16(std::span<float> values);

/// sum[i] += weight * row[i]; `row` holds sum.size() values.
void add_weighted(float weight, const float* row, std::span<float> sum);

}  // namespace moewe
