#pragma once

#include "runtime/kernels/checksum_rows.hpp"
#include "runtime/kernels/xxh3_short.hpp"

namespace moewe {

/// Of what a row's checksum depends on beside its bytes.
MOEWE_PORTABLE inline std::uint64_t seed_of_row(const ChecksumRows& work, std::size_t i) {
  const std::uint64_t k = work.ks == nullptr ? 0 : work.ks[i];
  const std::uint64_t numbers[] = {work.generation, std::uint64_t{work.direction} << 32U | work.source,
                                   std::uint64_t{work.tokens[i]} << 32U | k};
  return xxh3::hash_short(reinterpret_cast<const std::byte*>(numbers), sizeof numbers, 0);
}

}  // namespace moewe
