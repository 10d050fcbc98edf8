#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace moewe {

/// What numbers are stored and sent as. A layer's dtype is that of
///
///   weights       matrices of the experts; the router's are always f32
///   rows          what enters the layer (activations)
///   wire          what travels: rows to experts, experts' outputs back
///
/// Sums are always f32. With bf16 an expert's hidden activation and the output row of each assignment are
/// rounded once, also when they never leave the rank; a layer's result is f32.
enum class Dtype { f32, bf16 };

/// The upper half of an f32.
enum class Bf16 : std::uint16_t {};

constexpr std::size_t bytes_of(Dtype dtype) { return dtype == Dtype::f32 ? sizeof(float) : sizeof(Bf16); }
constexpr const char* name_of(Dtype dtype) { return dtype == Dtype::f32 ? "f32" : "bf16"; }

constexpr float widen(Bf16 value) { return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16U); }

/// The nearest bf16, ties to even; NaN stays NaN.
constexpr Bf16 round_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const bool is_nan = (bits & 0x7FFFFFFFU) > 0x7F800000U;
  const std::uint32_t rounded = is_nan ? bits | 0x00400000U : bits + 0x7FFFU + ((bits >> 16U) & 1U);
  return static_cast<Bf16>(rounded >> 16U);
}

}  // namespace moewe
