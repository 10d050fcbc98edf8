#include "runtime/kernels/elementwise.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

// One body, compiled once per instruction set and chosen at start-up. Sanitizers do not run in time for that.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(MOEWE_SANITIZED)
#define MOEWE_FOR_EACH_INSTRUCTION_SET [[gnu::target_clones("avx512f", "avx2", "default")]]
#else
#define MOEWE_FOR_EACH_INSTRUCTION_SET
#endif

// Where the result lies in an argument, it does so index by index.
#if defined(__GNUC__) && !defined(__clang__)
#define MOEWE_SAME_INDEX_ALIASES _Pragma("GCC ivdep")
#else
#define MOEWE_SAME_INDEX_ALIASES
#endif

namespace moewe {
namespace {

/// exp(x) for loops that a compiler can vectorise: x = n ln 2 + r with |r| <= ln 2 / 2, then Taylor's
/// polynomial of degree 6 in r, times 2^n. Cody and Waite's two-part ln 2 keeps r exact. Clamped to where 2^n
/// is a normal number.
inline float exp_of(float x) {
  constexpr float largest = 87.0F;
  constexpr float log2_e = 1.44269504F;
  constexpr float ln2_high = 0.693359375F;
  constexpr float ln2_low = -2.12194440e-4F;
  constexpr float round_to_whole = 12582912.0F;  // 1.5 * 2^23: adding it leaves no room for a fraction
  x = std::min(std::max(x, -largest), largest);
  const float n = (x * log2_e + round_to_whole) - round_to_whole;
  const float r = (x - n * ln2_high) - n * ln2_low;
  float p = 1.0F / 720.0F;
  p = p * r + 1.0F / 120.0F;
  p = p * r + 1.0F / 24.0F;
  p = p * r + 1.0F / 6.0F;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  const auto exponent = static_cast<std::int32_t>(n);
  return p * std::bit_cast<float>((exponent + 127) << 23);
}

inline float silu(float t) { return t / (1.0F + exp_of(-t)); }

/// 0.5 t (1 + tanh u) = t / (1 + exp(-2 u)).
inline float gelu(float t) {
  constexpr float two_sqrt_2_over_pi = 1.59576912F;
  const float two_u = two_sqrt_2_over_pi * (t + 0.044715F * t * t * t);
  return t / (1.0F + exp_of(-two_u));
}

inline float relu(float t) { return std::max(t, 0.0F); }

// Vectorised loops want one plain function per activation.

MOEWE_FOR_EACH_INSTRUCTION_SET
void silu_gated(const float* gate, const float* up, float* hidden, std::size_t length) {
  MOEWE_SAME_INDEX_ALIASES
  for (std::size_t i = 0; i < length; ++i) hidden[i] = silu(gate[i]) * up[i];
}

MOEWE_FOR_EACH_INSTRUCTION_SET
void gelu_gated(const float* gate, const float* up, float* hidden, std::size_t length) {
  MOEWE_SAME_INDEX_ALIASES
  for (std::size_t i = 0; i < length; ++i) hidden[i] = gelu(gate[i]) * up[i];
}

MOEWE_FOR_EACH_INSTRUCTION_SET
void relu_gated(const float* gate, const float* up, float* hidden, std::size_t length) {
  MOEWE_SAME_INDEX_ALIASES
  for (std::size_t i = 0; i < length; ++i) hidden[i] = relu(gate[i]) * up[i];
}

MOEWE_FOR_EACH_INSTRUCTION_SET
void silu_plain(const float* up, float* hidden, std::size_t length) {
  MOEWE_SAME_INDEX_ALIASES
  for (std::size_t i = 0; i < length; ++i) hidden[i] = silu(up[i]);
}

MOEWE_FOR_EACH_INSTRUCTION_SET
void gelu_plain(const float* up, float* hidden, std::size_t length) {
  MOEWE_SAME_INDEX_ALIASES
  for (std::size_t i = 0; i < length; ++i) hidden[i] = gelu(up[i]);
}

MOEWE_FOR_EACH_INSTRUCTION_SET
void relu_plain(const float* up, float* hidden, std::size_t length) {
  MOEWE_SAME_INDEX_ALIASES
  for (std::size_t i = 0; i < length; ++i) hidden[i] = relu(up[i]);
}

}  // namespace

void activate_gated(Activation activation, std::span<const float> gate, std::span<const float> up,
                    std::span<float> hidden) {
  switch (activation) {
    case Activation::silu:
      return silu_gated(gate.data(), up.data(), hidden.data(), hidden.size());
    case Activation::gelu:
      return gelu_gated(gate.data(), up.data(), hidden.data(), hidden.size());
    case Activation::relu:
      return relu_gated(gate.data(), up.data(), hidden.data(), hidden.size());
  }
}

void activate(Activation activation, std::span<const float> up, std::span<float> hidden) {
  switch (activation) {
    case Activation::silu:
      return silu_plain(up.data(), hidden.data(), hidden.size());
    case Activation::gelu:
      return gelu_plain(up.data(), hidden.data(), hidden.size());
    case Activation::relu:
      return relu_plain(up.data(), hidden.data(), hidden.size());
  }
}

MOEWE_FOR_EACH_INSTRUCTION_SET
void widen_bf16(std::span<const Bf16> bf16, std::span<float> f32) {
  const Bf16* from = bf16.data();
  float* to = f32.data();
  const std::size_t length = f32.size();
  for (std::size_t i = 0; i < length; ++i) to[i] = widen(from[i]);
}

MOEWE_FOR_EACH_INSTRUCTION_SET
void round_to_bf16(std::span<const float> f32, std::span<Bf16> bf16) {
  const float* from = f32.data();
  Bf16* to = bf16.data();
  const std::size_t length = bf16.size();
  for (std::size_t i = 0; i < length; ++i) to[i] = round_to_bf16(from[i]);
}

MOEWE_FOR_EACH_INSTRUCTION_SET
void round_in_place_to_bf16(std::span<float> values) {
  float* at = values.data();
  const std::size_t length = values.size();
  for (std::size_t i = 0; i < length; ++i) at[i] = widen(round_to_bf16(at[i]));
}

MOEWE_FOR_EACH_INSTRUCTION_SET
void add_weighted(float weight, const float* row, std::span<float> sum) {
  float* to = sum.data();
  const std::size_t length = sum.size();
  for (std::size_t i = 0; i < length; ++i) to[i] += weight * row[i];
}

}  // namespace moewe
