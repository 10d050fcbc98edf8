#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "runtime/kernels/portable.hpp"

namespace moewe::xxh3 {

// XXH3 with 64 bits and a seed, after its specification (doc/xxhash_spec.md of Cyan4973/xxHash, chapter "XXH3
// Algorithm Overview"), for hosts and GPUs: the checksums of XXH3_64bits_withSeed. Little-endian.

inline constexpr std::uint64_t prime32_1 = 0x9E3779B1U;
inline constexpr std::uint64_t prime32_2 = 0x85EBCA77U;
inline constexpr std::uint64_t prime32_3 = 0xC2B2AE3DU;
inline constexpr std::uint64_t prime64_1 = 0x9E3779B185EBCA87U;
inline constexpr std::uint64_t prime64_2 = 0xC2B2AE3D27D4EB4FU;
inline constexpr std::uint64_t prime64_3 = 0x165667B19E3779F9U;
inline constexpr std::uint64_t prime64_4 = 0x85EBCA77C2B2AE63U;
inline constexpr std::uint64_t prime64_5 = 0x27D4EB2F165667C5U;
inline constexpr std::uint64_t prime_mx1 = 0x165667919E3779F9U;
inline constexpr std::uint64_t prime_mx2 = 0x9FB21C651E98DF25U;

inline constexpr std::size_t most_short = 240;  ///< bytes; longer rows go stripe by stripe
inline constexpr std::size_t stripe_bytes = 64;
inline constexpr std::size_t stripes_per_block = 16;
inline constexpr std::size_t block_bytes = stripe_bytes * stripes_per_block;
inline constexpr unsigned int num_lanes = 8;

/// The secret that a seed makes of the default one, which is that of seed 0: 24 words.
class Secret {
 public:
  MOEWE_PORTABLE explicit Secret(std::uint64_t seed) : seed_(seed) {}

  MOEWE_PORTABLE std::uint64_t word(std::size_t i) const {
    constexpr std::uint64_t words[] = {
        0xBE4BA423396CFEB8U, 0x1CAD21F72C81017CU, 0xDB979083E96DD4DEU, 0x1F67B3B7A4A44072U,
        0x78E5C0CC4EE679CBU, 0x2172FFCC7DD05A82U, 0x8E2443F7744608B8U, 0x4C263A81E69035E0U,
        0xCB00C391BB52283CU, 0xA32E531B8B65D088U, 0x4EF90DA297486471U, 0xD8ACDEA946EF1938U,
        0x3F349CE33F76FAA8U, 0x1D4F0BC7C7BBDCF9U, 0x3159B4CD4BE0518AU, 0x647378D9C97E9FC8U,
        0xC3EBD33483ACC5EAU, 0xEB6313FAFFA081C5U, 0x49DAF0B751DD0D17U, 0x9E68D429265516D3U,
        0xFCA1477D58BE162BU, 0xCE31D07AD1B8F88FU, 0x280416958F3ACB45U, 0x7E404BBBCAFBD7AFU};
    return i % 2 == 0 ? words[i] + seed_ : words[i] - seed_;
  }

  /// The eight bytes from this one on.
  MOEWE_PORTABLE std::uint64_t at(std::size_t byte) const {
    const auto shift = static_cast<unsigned int>(byte % 8 * 8);
    if (shift == 0) return word(byte / 8);
    return word(byte / 8) >> shift | word(byte / 8 + 1) << (64U - shift);
  }

 private:
  std::uint64_t seed_;
};

template <typename Word>
MOEWE_PORTABLE inline Word read(const std::byte* from) {
  Word word;
  if (reinterpret_cast<std::uintptr_t>(from) % sizeof word == 0) {
    std::memcpy(&word, __builtin_assume_aligned(from, sizeof word), sizeof word);
  } else {
    std::memcpy(&word, from, sizeof word);
  }
  return word;
}

MOEWE_PORTABLE inline std::uint64_t read64(const std::byte* from) { return read<std::uint64_t>(from); }

MOEWE_PORTABLE inline std::uint64_t rotated(std::uint64_t value, unsigned int left) {
  return value << left | value >> (64U - left);
}

MOEWE_PORTABLE inline std::uint64_t swapped(std::uint64_t value, unsigned int num_bytes) {
  std::uint64_t result = 0;
  for (unsigned int i = 0; i < num_bytes; ++i) result |= (value >> 8 * i & 0xFFU) << 8 * (num_bytes - 1 - i);
  return result;
}

/// Both halves of the product, one over the other.
MOEWE_PORTABLE inline std::uint64_t folded_product(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64U);
}

MOEWE_PORTABLE inline std::uint64_t avalanche(std::uint64_t hash) {
  hash = (hash ^ hash >> 37U) * prime_mx1;
  return hash ^ hash >> 32U;
}

MOEWE_PORTABLE inline std::uint64_t avalanche_of_xxh64(std::uint64_t hash) {
  hash = (hash ^ hash >> 33U) * prime64_2;
  hash = (hash ^ hash >> 29U) * prime64_3;
  return hash ^ hash >> 32U;
}

/// What a stripe adds to lane i: its own word in the stripe mixed with the secret's, and its neighbour's.
MOEWE_PORTABLE inline std::uint64_t lane_sum(std::uint64_t own, std::uint64_t neighbour, std::uint64_t key) {
  const std::uint64_t mixed = own ^ key;
  return neighbour + (mixed & 0xFFFFFFFFU) * (mixed >> 32U);
}

/// After each block.
MOEWE_PORTABLE inline std::uint64_t scrambled(std::uint64_t lane, std::uint64_t key) {
  return (lane ^ lane >> 47U ^ key) * prime32_1;
}

MOEWE_PORTABLE inline std::uint64_t first_of_lane(unsigned int i) {
  constexpr std::uint64_t first[] = {prime32_3, prime64_1, prime64_2, prime64_3,
                                     prime64_4, prime32_2, prime64_5, prime32_1};
  return first[i];
}

inline constexpr std::size_t scramble_secret = 128;  ///< bytes at which keys begin
inline constexpr std::size_t last_stripe_secret = 121;
inline constexpr std::size_t merge_secret = 11;

}  // namespace moewe::xxh3
