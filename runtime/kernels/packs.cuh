#pragma once

#include <cstddef>
#include <cstdint>

namespace moewe {

/// Bytes that a thread of a GPU loads or stores at once, at most.
constexpr std::size_t pack_bytes = 16;

template <typename Value>
constexpr unsigned int values_per_pack = pack_bytes / sizeof(Value);

/// What lies where 16 bytes can be moved at once.
struct alignas(pack_bytes) PackBytes {
  std::uint32_t words[4];
};

__device__ inline bool is_aligned(const void* address) {
  return reinterpret_cast<std::uintptr_t>(address) % pack_bytes == 0;
}

/// Loads `length` values: at once if their address allows that, else one by one; the last of a row are fewer.
template <unsigned int length, typename Value>
__device__ inline void load(const Value* from, unsigned int count, Value (&values)[length]) {
  static_assert(length * sizeof(Value) % pack_bytes == 0);
  constexpr unsigned int num_packs = length * sizeof(Value) / pack_bytes;
  if (count >= length && is_aligned(from)) {
    union {
      PackBytes packs[num_packs];
      Value values[length];
    } both;
#pragma unroll
    for (unsigned int p = 0; p < num_packs; ++p) both.packs[p] = reinterpret_cast<const PackBytes*>(from)[p];
#pragma unroll
    for (unsigned int i = 0; i < length; ++i) values[i] = both.values[i];
  } else {
#pragma unroll
    for (unsigned int i = 0; i < length; ++i) values[i] = i < count ? from[i] : Value{};
  }
}

/// The same way back.
template <unsigned int length, typename Value>
__device__ inline void store(const Value (&values)[length], Value* to, unsigned int count) {
  static_assert(length * sizeof(Value) % pack_bytes == 0);
  constexpr unsigned int num_packs = length * sizeof(Value) / pack_bytes;
  if (count >= length && is_aligned(to)) {
    union {
      PackBytes packs[num_packs];
      Value values[length];
    } both;
#pragma unroll
    for (unsigned int i = 0; i < length; ++i) both.values[i] = values[i];
#pragma unroll
    for (unsigned int p = 0; p < num_packs; ++p) reinterpret_cast<PackBytes*>(to)[p] = both.packs[p];
  } else {
#pragma unroll
    for (unsigned int i = 0; i < length; ++i) {
      if (i < count) to[i] = values[i];
    }
  }
}

}  // namespace moewe
