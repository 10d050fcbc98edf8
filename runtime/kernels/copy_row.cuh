#pragma once

#include "runtime/kernels/packs.cuh"

namespace moewe::copy_row {

// Blocks of so many threads copy a row in pieces.
constexpr unsigned int threads = 256;
constexpr unsigned int packs_per_thread = 4;
constexpr std::size_t piece_bytes = threads * packs_per_thread * pack_bytes;

constexpr unsigned int num_pieces(std::size_t row_bytes) {
  return static_cast<unsigned int>((row_bytes + piece_bytes - 1) / piece_bytes);
}

/// Loads before it stores, so that several loads are under way at a time.
__device__ inline void copy_packs(const std::byte* from, std::byte* to, std::size_t count) {
  PackBytes packs[packs_per_thread];
#pragma unroll
  for (unsigned int p = 0; p < packs_per_thread; ++p) {
    const std::size_t i = threadIdx.x + p * threads;
    if (i < count) packs[p] = reinterpret_cast<const PackBytes*>(from)[i];
  }
#pragma unroll
  for (unsigned int p = 0; p < packs_per_thread; ++p) {
    const std::size_t i = threadIdx.x + p * threads;
    if (i < count) reinterpret_cast<PackBytes*>(to)[i] = packs[p];
  }
}

/// The block's piece of a row; zeros where `from` is null.
__device__ inline void copy_piece(const std::byte* from, std::byte* to, std::size_t row_bytes,
                                  unsigned int piece) {
  const std::size_t first = piece * piece_bytes;
  const std::size_t left = row_bytes - first;
  const std::size_t bytes = left < piece_bytes ? left : piece_bytes;
  std::size_t copied = 0;
  if (from != nullptr && is_aligned(from + first) && is_aligned(to + first)) {
    copied = bytes / pack_bytes * pack_bytes;
    copy_packs(from + first, to + first, bytes / pack_bytes);
  }
  for (std::size_t b = first + copied + threadIdx.x; b < first + bytes; b += threads)
    to[b] = from == nullptr ? std::byte{0} : from[b];
}

}  // namespace moewe::copy_row
