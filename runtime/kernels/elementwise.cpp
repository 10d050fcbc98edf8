#include "runtime/kernels/elementwise.hpp"

#include <bit>
#include <cmath>

// One body, compiled once per instruction set and chosen at start-up. Sanitizers do not run in time for that.
#if defined(__x86_64__) && !defined(MOEWE_SANITIZED)
#define MOEWE_FOR_EACH_INSTRUCTION_SET [[gnu::target_clones("avx512f", "avx2", "default")]]
#else
#define MOEWE_FOR_EACH_INSTRUCTION_SET
#endif

namespace moewe {

void silu_multiply(std::span<const float> gate, std::span<const float> up, std::span<float> hidden) {
  for (std::size_t i = 0; i < hidden.size(); ++i) {
    hidden[i] = gate[i] / (1.0F + std::exp(-gate[i])) * up[i];
  }
}

MOEWE_FOR_EACH_INSTRUCTION_SET
void add_weighted(float weight, std::span<const float> row, std::span<float> sum) {
  const std::size_t length = sum.size();
  const float* from = row.data();
  float* to = sum.data();
  for (std::size_t i = 0; i < length; ++i) to[i] += weight * from[i];
}

MOEWE_FOR_EACH_INSTRUCTION_SET
void widen_bf16(std::span<const std::uint16_t> bf16, std::span<float> f32) {
  const std::size_t length = f32.size();
  for (std::size_t i = 0; i < length; ++i) {
    f32[i] = std::bit_cast<float>(static_cast<std::uint32_t>(bf16[i]) << 16);
  }
}

}  // namespace moewe
