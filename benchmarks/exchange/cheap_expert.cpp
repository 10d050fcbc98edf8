#include "benchmarks/exchange/cheap_expert.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(MOEWE_SANITIZED)
#define MOEWE_FOR_EACH_INSTRUCTION_SET [[gnu::target_clones("avx512f", "avx2", "default")]]
#else
#define MOEWE_FOR_EACH_INSTRUCTION_SET
#endif

namespace moewe::bench {
namespace {

/// Two at a time, in the halves of a word: products with a power of two fit into their upper half again.
MOEWE_FOR_EACH_INSTRUCTION_SET
void scale(float factor, const Bf16* from, Bf16* to, std::size_t length) {
  constexpr std::uint32_t upper = 0xFFFF0000U;
  const auto scaled = [factor](std::uint32_t bits) {
    return std::bit_cast<std::uint32_t>(factor * std::bit_cast<float>(bits));
  };
  for (std::size_t i = 0; i < length / 2; ++i) {
    std::uint32_t pair = 0;
    std::memcpy(&pair, from + 2 * i, sizeof pair);
    pair = scaled(pair << 16U) >> 16U | (scaled(pair & upper) & upper);
    std::memcpy(to + 2 * i, &pair, sizeof pair);
  }
  if (length % 2 == 1) to[length - 1] = round_to_bf16(factor * widen(from[length - 1]));
}

MOEWE_FOR_EACH_INSTRUCTION_SET
void scale(float factor, const float* from, float* to, std::size_t length) {
  for (std::size_t i = 0; i < length; ++i) to[i] = factor * from[i];
}

template <typename Value>
void scale_values(float factor, const std::byte* input, std::byte* output, std::size_t length,
                  Stores stores) {
  const auto* from = reinterpret_cast<const Value*>(input);
  if (stores == Stores::cached) return scale(factor, from, reinterpret_cast<Value*>(output), length);
  constexpr std::size_t block = 2048;
  std::array<Value, block> scaled;
  for (std::size_t first = 0; first < length; first += block) {
    const std::size_t count = std::min(block, length - first);
    scale(factor, from + first, scaled.data(), count);
    copy_row(reinterpret_cast<const std::byte*>(scaled.data()), output + first * sizeof(Value),
             count * sizeof(Value), stores);
  }
}

}  // namespace

void scale_row(float factor, const std::byte* input, std::byte* output, const RowFormat& format,
               Stores stores) {
  if (format.dtype == Dtype::bf16) {
    scale_values<Bf16>(factor, input, output, format.hidden, stores);
  } else {
    scale_values<float>(factor, input, output, format.hidden, stores);
  }
}

}  // namespace moewe::bench
