#include "runtime/kernels/elementwise.hpp"

#include <cstring>

#include "runtime/kernels/activation_element.hpp"

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
