#include "runtime/kernels/launch.cuh"
#include "runtime/kernels/packs.cuh"
#include "runtime/kernels/portable.hpp"
#include "runtime/kernels/push_rows.hpp"

namespace moewe {
namespace {

constexpr unsigned int threads = 256;
constexpr unsigned int packs_per_thread = 4;
constexpr std::size_t bytes_per_block = threads * packs_per_thread * pack_bytes;

/// The rank whose rows the i-th is one of.
__device__ std::uint32_t rank_of(const PushRows& work, std::uint32_t i) {
  std::uint32_t low = 0;
  std::uint32_t high = work.num_ranks;
  while (high - low > 1) {
    const std::uint32_t middle = (low + high) / 2;
    (work.first_row[middle] <= i ? low : high) = middle;
  }
  return low;
}

/// Loads before it stores, so that several loads are under way at a time.
__device__ void copy_packs(const std::byte* from, std::byte* to, std::size_t count) {
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

/// One row per block in x, a piece of it in y.
__global__ void push(PushRows work) {
  const std::uint32_t i = blockIdx.x;
  if (i >= work.first_row[work.num_ranks]) return;
  const std::uint32_t rank = rank_of(work, i);
  const std::size_t first = blockIdx.y * bytes_per_block;
  const std::size_t left = work.row_bytes - first;
  const std::size_t bytes = left < bytes_per_block ? left : bytes_per_block;
  const std::byte* const from = work.x + work.tokens[i] * work.row_bytes + first;
  std::byte* const to = work.destinations[rank] + (i - work.first_row[rank]) * work.row_bytes + first;
  std::size_t copied = 0;
  if (is_aligned(from) && is_aligned(to)) {
    copied = bytes / pack_bytes * pack_bytes;
    copy_packs(from, to, bytes / pack_bytes);
  }
  for (std::size_t b = copied + threadIdx.x; b < bytes; b += threads) to[b] = from[b];
}

}  // namespace

int launch_push_rows(const PushRows& work, StreamHandle stream) {
  if (work.max_rows == 0 || work.row_bytes == 0) return cudaSuccess;
  const auto pieces = static_cast<unsigned int>((work.row_bytes + bytes_per_block - 1) / bytes_per_block);
  return start(push, dim3(work.max_rows, pieces), threads, 0, stream, work);
}

}  // namespace moewe
