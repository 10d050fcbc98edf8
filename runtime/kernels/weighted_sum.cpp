#include "runtime/kernels/weighted_sum.hpp"

#include <cstdint>
#include <cstring>

// One body for each width of vectors, chosen at start-up by what the machine has registers for: what the
// compiler makes of wider ones is many times slower. Sanitizers do not run in time for that.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(MOEWE_SANITIZED)
#define MOEWE_HAS_WIDER_VECTORS
#endif

namespace moewe {
namespace {

constexpr std::uint32_t upper_half = 0xFFFF0000U;

/// The compiler's own vectors. They are handed on by reference: how one is passed or returned by value
/// differs between instruction sets.
template <std::size_t num_lanes>
struct Vectors {
  static constexpr std::size_t lanes = num_lanes;
  using Floats [[gnu::vector_size(lanes * sizeof(float))]] = float;
  using Words [[gnu::vector_size(lanes * sizeof(std::uint32_t))]] = std::uint32_t;
  using Places [[gnu::vector_size(lanes * sizeof(std::int32_t))]] = std::int32_t;
};

/// Sums of two vectors' values next to one another. Of f32 in their order; of bf16 those at even places, then
/// those at odd ones: both halves of a word are widened where they are.
template <typename V>
struct PairOfSums {
  typename V::Floats first{};
  typename V::Floats second{};
};

template <typename V>
[[gnu::always_inline]] inline void add(float weight, const float* from, PairOfSums<V>& sums) {
  typename V::Floats next;
  std::memcpy(&next, from, sizeof next);
  sums.first += weight * next;
  std::memcpy(&next, from + V::lanes, sizeof next);
  sums.second += weight * next;
}

template <typename V>
[[gnu::always_inline]] inline void add(float weight, const Bf16* from, PairOfSums<V>& sums) {
  typename V::Words words;
  std::memcpy(&words, from, sizeof words);
  const typename V::Words even = words << 16U;
  const typename V::Words odd = words & upper_half;
  sums.first += weight * __builtin_bit_cast(typename V::Floats, even);
  sums.second += weight * __builtin_bit_cast(typename V::Floats, odd);
}

template <typename V>
[[gnu::always_inline]] inline void store_in_order(const PairOfSums<V>& sums, float* to) {
  std::memcpy(to, &sums.first, sizeof sums.first);
  std::memcpy(to + V::lanes, &sums.second, sizeof sums.second);
}

/// Even and odd places in turns.
template <typename V>
[[gnu::always_inline]] inline void store_zipped(const PairOfSums<V>& sums, float* to) {
  typename V::Places low;
  typename V::Places high;
  constexpr auto lanes = static_cast<std::int32_t>(V::lanes);
  for (std::int32_t i = 0; i < lanes; ++i) {
    low[i] = i / 2 + (i % 2) * lanes;
    high[i] = low[i] + lanes / 2;
  }
  const typename V::Floats begin = __builtin_shuffle(sums.first, sums.second, low);
  const typename V::Floats end = __builtin_shuffle(sums.first, sums.second, high);
  std::memcpy(to, &begin, sizeof begin);
  std::memcpy(to + V::lanes, &end, sizeof end);
}

/// Rounds as round_to_bf16 does, in the upper halves of the words.
template <typename V>
[[gnu::always_inline]] inline void round(const typename V::Floats& values, typename V::Words& words) {
  const auto bits = __builtin_bit_cast(typename V::Words, values);
  words = values != values ? bits | 0x00400000U : bits + 0x7FFFU + ((bits >> 16U) & 1U);
}

template <typename V>
[[gnu::always_inline]] inline void store_rounded(const PairOfSums<V>& sums, Bf16* to) {
  typename V::Words even;
  typename V::Words odd;
  round<V>(sums.first, even);
  round<V>(sums.second, odd);
  const typename V::Words words = (even >> 16U) | (odd & upper_half);
  std::memcpy(to, &words, sizeof words);
}

[[gnu::always_inline]] inline float widen(float value) { return value; }

/// Two pairs at a time: their sums stay in registers while all rows pass.
template <typename V, typename Value, typename Store, typename StoreOne>
[[gnu::always_inline]] inline void sum_rows(std::span<const WeightedRow> rows, std::size_t first,
                                            std::size_t length, Store&& store, StoreOne&& store_one) {
  constexpr std::size_t step = 2 * V::lanes;
  std::size_t i = 0;
  for (; i + 2 * step <= length; i += 2 * step) {
    PairOfSums<V> left;
    PairOfSums<V> right;
    for (const WeightedRow& row : rows) {
      const Value* from = reinterpret_cast<const Value*>(row.row) + first + i;
      add(row.weight, from, left);
      add(row.weight, from + step, right);
    }
    store(left, i);
    store(right, i + step);
  }
  for (; i < length; ++i) {
    float sum = 0;
    for (const WeightedRow& row : rows)
      sum += row.weight * widen(reinterpret_cast<const Value*>(row.row)[first + i]);
    store_one(sum, i);
  }
}

template <typename V>
[[gnu::always_inline]] inline void sum_as(std::span<const WeightedRow> rows, std::size_t first, Dtype dtype,
                                          std::span<float> sum) {
  float* to = sum.data();
  const auto store_one = [&](float value, std::size_t i) { to[i] = value; };
  if (dtype == Dtype::f32) {
    sum_rows<V, float>(
        rows, first, sum.size(), [&](const auto& sums, std::size_t i) { store_in_order<V>(sums, to + i); },
        store_one);
  } else {
    sum_rows<V, Bf16>(
        rows, first, sum.size(), [&](const auto& sums, std::size_t i) { store_zipped<V>(sums, to + i); },
        store_one);
  }
}

template <typename V>
[[gnu::always_inline]] inline void sum_and_round_as(std::span<const WeightedRow> rows, std::size_t length,
                                                    Bf16* to) {
  sum_rows<V, Bf16>(
      rows, 0, length, [&](const auto& sums, std::size_t i) { store_rounded<V>(sums, to + i); },
      [&](float value, std::size_t i) { to[i] = round_to_bf16(value); });
}

#ifdef MOEWE_HAS_WIDER_VECTORS

[[gnu::target("avx512f")]] void sum_in_f32(std::span<const WeightedRow> rows, std::size_t first, Dtype dtype,
                                           std::span<float> sum) {
  sum_as<Vectors<16>>(rows, first, dtype, sum);
}

[[gnu::target("avx2")]] void sum_in_f32(std::span<const WeightedRow> rows, std::size_t first, Dtype dtype,
                                        std::span<float> sum) {
  sum_as<Vectors<8>>(rows, first, dtype, sum);
}

[[gnu::target("avx512f")]] void sum_in_bf16(std::span<const WeightedRow> rows, std::size_t length, Bf16* to) {
  sum_and_round_as<Vectors<16>>(rows, length, to);
}

[[gnu::target("avx2")]] void sum_in_bf16(std::span<const WeightedRow> rows, std::size_t length, Bf16* to) {
  sum_and_round_as<Vectors<8>>(rows, length, to);
}

[[gnu::target("default")]]
#endif
void sum_in_f32(std::span<const WeightedRow> rows, std::size_t first, Dtype dtype, std::span<float> sum) {
  sum_as<Vectors<4>>(rows, first, dtype, sum);
}

#ifdef MOEWE_HAS_WIDER_VECTORS
[[gnu::target("default")]]
#endif
void sum_in_bf16(std::span<const WeightedRow> rows, std::size_t length, Bf16* to) {
  sum_and_round_as<Vectors<4>>(rows, length, to);
}

}  // namespace

void sum_weighted(std::span<const WeightedRow> rows, std::size_t first, Dtype dtype, std::span<float> sum) {
  sum_in_f32(rows, first, dtype, sum);
}

void sum_weighted_rounded(std::span<const WeightedRow> rows, Dtype dtype, std::size_t length, std::byte* to) {
  if (dtype == Dtype::f32) {
    sum_in_f32(rows, 0, dtype, {reinterpret_cast<float*>(to), length});
  } else {
    sum_in_bf16(rows, length, reinterpret_cast<Bf16*>(to));
  }
}

}  // namespace moewe
