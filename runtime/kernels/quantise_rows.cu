#include "runtime/kernels/block_scale.hpp"
#include "runtime/kernels/launch.cuh"
#include "runtime/kernels/packs.cuh"
#include "runtime/kernels/portable.hpp"
#include "runtime/kernels/quantise_rows.hpp"

namespace moewe {
namespace {

constexpr unsigned int lanes = 16;  // half a warp per scale, so that a lane has a pack of bf16
constexpr unsigned int values = scale_block / lanes;
constexpr unsigned int threads = 256;
constexpr unsigned int blocks_per_block = threads / lanes;

__device__ float largest_of(float mine) {
  constexpr unsigned int all_lanes = 0xFFFFFFFFU;
  for (unsigned int step = lanes / 2; step > 0; step /= 2)
    mine = std::max(mine, __shfl_xor_sync(all_lanes, mine, step));
  return mine;
}

struct alignas(values) QuantisedPack {
  E4m3 codes[values];
};

__device__ void store_codes(const QuantisedPack& pack, E4m3* to, unsigned int count) {
  if (count >= values && reinterpret_cast<std::uintptr_t>(to) % sizeof pack == 0) {
    *reinterpret_cast<QuantisedPack*>(to) = pack;
    return;
  }
#pragma unroll
  for (unsigned int i = 0; i < values; ++i) {
    if (i < count) to[i] = pack.codes[i];
  }
}

/// Threads beyond the last scale work on nothing, since shuffles want whole warps.
template <typename Value>
__global__ void quantise_all(QuantiseRows work) {
  const std::uint32_t per_row = scales_of(work.hidden);
  const std::size_t block = static_cast<std::size_t>(blockIdx.x) * blocks_per_block + threadIdx.x / lanes;
  const std::size_t row = block / per_row;
  const auto column =
      static_cast<std::uint32_t>(block % per_row) * scale_block + threadIdx.x % lanes * values;
  const bool is_mine = row < work.num_rows && column < work.hidden;
  const unsigned int count = is_mine ? work.hidden - column : 0;
  const std::size_t at = row * work.hidden + column;
  Value mine[values];
  load(reinterpret_cast<const Value*>(work.x) + (is_mine ? at : 0), count, mine);
  float largest = 0.0F;
#pragma unroll
  for (unsigned int i = 0; i < values; ++i) largest = std::max(largest, magnitude_of(to_f32(mine[i])));
  const float scale = scale_for(largest_of(largest));
  QuantisedPack pack;
#pragma unroll
  for (unsigned int i = 0; i < values; ++i) pack.codes[i] = quantise(to_f32(mine[i]), scale);
  if (!is_mine) return;
  store_codes(pack, work.quantised + at, count);
  if (threadIdx.x % lanes == 0) work.scales[block] = scale;
}

}  // namespace

int launch_quantise_rows(const QuantiseRows& work, StreamHandle stream) {
  const std::size_t blocks = static_cast<std::size_t>(work.num_rows) * scales_of(work.hidden);
  if (blocks == 0) return cudaSuccess;
  const auto grid = static_cast<unsigned int>((blocks + blocks_per_block - 1) / blocks_per_block);
  auto* const kernel = work.dtype == Dtype::f32 ? quantise_all<float> : quantise_all<Bf16>;
  return start(kernel, grid, threads, 0, stream, work);
}

}  // namespace moewe
