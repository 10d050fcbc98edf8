#include "runtime/kernels/checksum_rows.hpp"
#include "runtime/kernels/launch.cuh"
#include "runtime/kernels/row_seed.hpp"

namespace moewe {
namespace {

using namespace xxh3;

constexpr unsigned int warp = 32;
constexpr unsigned int threads = 128;
constexpr unsigned int all_lanes = 0xFFFFFFFFU;
constexpr unsigned int stripes_at_once = warp / num_lanes;
constexpr unsigned int turns = stripes_per_block / stripes_at_once;

/// A thread is one of the hash's lanes for each fourth stripe. What stripes of a block add does not depend on
/// those before them.
struct Position {
  unsigned int lane;
  unsigned int stripe;
};

__device__ std::uint64_t word_sum(std::uint64_t own, std::uint64_t key) {
  return lane_sum(own, __shfl_xor_sync(all_lanes, own, 1), key);
}

/// Of the first `count` stripes of a block.
__device__ std::uint64_t block_sum(const std::byte* block, std::size_t count, const Position& mine,
                                   const std::uint64_t (&keys)[turns]) {
  std::uint64_t sum = 0;
#pragma unroll
  for (unsigned int turn = 0; turn < turns; ++turn) {
    const unsigned int stripe = turn * stripes_at_once + mine.stripe;
    const bool is_there = stripe < count;
    const std::uint64_t own = is_there ? read64(block + stripe * stripe_bytes + 8 * mine.lane) : 0;
    const std::uint64_t added = word_sum(own, keys[turn]);
    sum += is_there ? added : 0;
  }
  sum += __shfl_xor_sync(all_lanes, sum, num_lanes);
  return sum + __shfl_xor_sync(all_lanes, sum, 2 * num_lanes);
}

__device__ std::uint64_t merged(std::uint64_t lane, std::size_t length, const Secret& secret,
                                const Position& mine) {
  const std::uint64_t mixed = lane ^ secret.at(merge_secret + 8 * mine.lane);
  std::uint64_t sum = folded_product(mixed, __shfl_xor_sync(all_lanes, mixed, 1));
  sum += __shfl_xor_sync(all_lanes, sum, 2);
  sum += __shfl_xor_sync(all_lanes, sum, 4);
  return avalanche(length * prime64_1 + sum);
}

__device__ std::uint64_t hash_long(const std::byte* row, std::size_t length, std::uint64_t seed) {
  const Secret secret(seed);
  const Position mine{threadIdx.x % num_lanes, threadIdx.x % warp / num_lanes};
  std::uint64_t keys[turns];
  for (unsigned int turn = 0; turn < turns; ++turn)
    keys[turn] = secret.word(turn * stripes_at_once + mine.stripe + mine.lane);
  const std::uint64_t scramble_key = secret.at(scramble_secret + 8 * mine.lane);
  std::uint64_t lane = first_of_lane(mine.lane);
  std::size_t num_stripes = (length - 1) / stripe_bytes;
  const std::byte* block = row;
  for (; num_stripes >= stripes_per_block; num_stripes -= stripes_per_block, block += block_bytes)
    lane = scrambled(lane + block_sum(block, stripes_per_block, mine, keys), scramble_key);
  lane += block_sum(block, num_stripes, mine, keys);
  lane += word_sum(read64(row + length - stripe_bytes + 8 * mine.lane),
                   secret.at(last_stripe_secret + 8 * mine.lane));
  return merged(lane, length, secret, mine);
}

/// One row per warp.
__global__ void checksum(ChecksumRows work) {
  const std::size_t i = static_cast<std::size_t>(blockIdx.x) * (threads / warp) + threadIdx.x / warp;
  if (i >= work.num_rows || work.rows[i] == nullptr) return;
  const std::uint64_t seed = seed_of_row(work, i);
  const bool is_first = threadIdx.x % warp == 0;
  if (work.row_bytes > most_short) {
    const std::uint64_t hash = hash_long(work.rows[i], work.row_bytes, seed);
    if (is_first) work.checksums[i] = hash;
  } else if (is_first) {
    work.checksums[i] = hash_short(work.rows[i], work.row_bytes, seed);
  }
}

}  // namespace

int launch_checksum_rows(const ChecksumRows& work, StreamHandle stream) {
  if (work.num_rows == 0) return cudaSuccess;
  constexpr unsigned int rows_per_block = threads / warp;
  return start(checksum, (work.num_rows + rows_per_block - 1) / rows_per_block, threads, 0, stream, work);
}

}  // namespace moewe
