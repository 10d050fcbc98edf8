#pragma once

#include "runtime/kernels/block_scale.hpp"
#include "runtime/kernels/packs.cuh"
#include "runtime/kernels/portable.hpp"
#include "runtime/kernels/quantise_rows.hpp"

namespace moewe::quantise_block {

constexpr unsigned int lanes = 16;  // half a warp per scale, so that a lane has a pack of bf16
constexpr unsigned int values = scale_block / lanes;
constexpr unsigned int threads = 256;
constexpr unsigned int scales_per_block = threads / lanes;

__device__ inline float largest_of(float mine) {
  constexpr unsigned int all_lanes = 0xFFFFFFFFU;
  for (unsigned int step = lanes / 2; step > 0; step /= 2)
    mine = std::max(mine, __shfl_xor_sync(all_lanes, mine, step));
  return mine;
}

struct alignas(values) QuantisedPack {
  E4m3 codes[values];
};

__device__ inline void store_codes(const QuantisedPack& pack, E4m3* to, unsigned int count) {
  if (count >= values && reinterpret_cast<std::uintptr_t>(to) % sizeof pack == 0) {
    *reinterpret_cast<QuantisedPack*>(to) = pack;
    return;
  }
#pragma unroll
  for (unsigned int i = 0; i < values; ++i) {
    if (i < count) to[i] = pack.codes[i];
  }
}

/// Quantises values from `column` on of a row, with the other lanes of the same scale, which is stored by the
/// first. Whole warps call it: those beyond the rows' ends with `is_mine` false.
template <typename Value>
__device__ void quantise_part(const Value* row, std::uint32_t column, std::uint32_t hidden, bool is_mine,
                              E4m3* to, float* scale_at) {
  const unsigned int count = is_mine ? hidden - column : 0;
  Value mine[values];
  load(row + (is_mine ? column : 0), count, mine);
  float largest = 0.0F;
#pragma unroll
  for (unsigned int i = 0; i < values; ++i) largest = std::max(largest, magnitude_of(to_f32(mine[i])));
  const float scale = scale_for(largest_of(largest));
  QuantisedPack pack;
#pragma unroll
  for (unsigned int i = 0; i < values; ++i) pack.codes[i] = quantise(to_f32(mine[i]), scale);
  if (!is_mine) return;
  store_codes(pack, to + column, count);
  if (threadIdx.x % lanes == 0) *scale_at = scale;
}

}  // namespace moewe::quantise_block
