#pragma once

#include "runtime/kernels/xxh3.hpp"

namespace moewe::xxh3 {

/// Both ends of up to 16 bytes.
MOEWE_PORTABLE inline std::uint64_t hash_to_16(const std::byte* row, std::size_t length, std::uint64_t seed) {
  const Secret secret(0);
  if (length > 8) {
    const std::uint64_t low = read64(row) ^ ((secret.at(24) ^ secret.at(32)) + seed);
    const std::uint64_t high = read64(row + length - 8) ^ ((secret.at(40) ^ secret.at(48)) - seed);
    return avalanche(length + swapped(low, 8) + high + folded_product(low, high));
  }
  if (length >= 4) {
    seed ^= swapped(seed & 0xFFFFFFFFU, 4) << 32U;
    const std::uint64_t first = read<std::uint32_t>(row);
    const std::uint64_t last = read<std::uint32_t>(row + length - 4);
    std::uint64_t hash = (last + (first << 32U)) ^ ((secret.at(8) ^ secret.at(16)) - seed);
    hash = (hash ^ rotated(hash, 49) ^ rotated(hash, 24)) * prime_mx2;
    hash = (hash ^ ((hash >> 35U) + length)) * prime_mx2;
    return hash ^ hash >> 28U;
  }
  if (length == 0) return avalanche_of_xxh64(seed ^ secret.at(56) ^ secret.at(64));
  const auto byte = [&](std::size_t i) { return static_cast<std::uint64_t>(row[i]); };
  const std::uint64_t all = byte(0) << 16U | byte(length / 2) << 24U | byte(length - 1) | length << 8U;
  const std::uint64_t key = (secret.word(0) & 0xFFFFFFFFU) ^ secret.word(0) >> 32U;
  return avalanche_of_xxh64(all ^ (key + seed));
}

/// Of 16 bytes.
MOEWE_PORTABLE inline std::uint64_t mixed_16(const std::byte* from, std::size_t secret_byte,
                                             std::uint64_t seed) {
  const Secret secret(0);
  return folded_product(read64(from) ^ (secret.at(secret_byte) + seed),
                        read64(from + 8) ^ (secret.at(secret_byte + 8) - seed));
}

/// From both ends to the middle.
MOEWE_PORTABLE inline std::uint64_t hash_to_128(const std::byte* row, std::size_t length,
                                                std::uint64_t seed) {
  std::uint64_t sum = length * prime64_1;
  for (std::size_t i = 0; i <= (length - 1) / 32; ++i) {
    sum += mixed_16(row + 16 * i, 32 * i, seed);
    sum += mixed_16(row + length - 16 * (i + 1), 32 * i + 16, seed);
  }
  return avalanche(sum);
}

MOEWE_PORTABLE inline std::uint64_t hash_to_240(const std::byte* row, std::size_t length,
                                                std::uint64_t seed) {
  constexpr std::size_t num_first = 8;
  std::uint64_t sum = length * prime64_1;
  for (std::size_t i = 0; i < num_first; ++i) sum += mixed_16(row + 16 * i, 16 * i, seed);
  sum = avalanche(sum);
  for (std::size_t i = num_first; i < length / 16; ++i)
    sum += mixed_16(row + 16 * i, 16 * (i - num_first) + 3, seed);
  return avalanche(sum + mixed_16(row + length - 16, 136 - 17, seed));
}

/// Of at most most_short bytes.
MOEWE_PORTABLE inline std::uint64_t hash_short(const std::byte* row, std::size_t length, std::uint64_t seed) {
  if (length <= 16) return hash_to_16(row, length, seed);
  return length <= 128 ? hash_to_128(row, length, seed) : hash_to_240(row, length, seed);
}

}  // namespace moewe::xxh3
