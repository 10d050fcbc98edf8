#pragma once

#include "runtime/kernels/multiply_tile.cuh"

namespace moewe::multiply_f32 {

using namespace multiply;

constexpr unsigned int threads = 256;
constexpr std::uint32_t side = 64;       // of a tile
constexpr std::uint32_t per_thread = 4;  // rows, and outputs
constexpr std::uint32_t depth = 16;      // values of a row that are in shared memory at a time
constexpr std::uint32_t group = per_thread / 2;
constexpr TileShape tiles() { return {side, side, 1, 0xFFFFFFFFU}; }

using Panel = float[depth][side + 1];

/// Values from `k` on of the tile's rows and of its weights.
template <typename Input>
__device__ void load(const MultiplyRows& work, const Tile& tile, std::uint32_t k, Panel& x, Panel& w) {
  const auto* const weights = reinterpret_cast<const float*>(work.weights[tile.slot]);
  for (std::uint32_t i = threadIdx.x; i < side * depth; i += threads) {
    const std::uint32_t row = i / depth;
    const std::uint32_t column = k + i % depth;
    const bool is_inside = column < work.in;
    const WeightRow<group> of(work, tile.first_output, row);
    x[i % depth][row] =
        is_inside && row < tile.num_rows
            ? to_f32(reinterpret_cast<const Input*>(work.inputs.at(tile.first_row + row))[column])
            : 0.0F;
    w[i % depth][row] = is_inside && of.output < work.out ? weights[of.offset(work) + column] : 0.0F;
  }
}

/// A thread's sums of neighbouring rows and outputs.
using Sums = float[per_thread][per_thread];

__device__ inline void add(std::uint32_t count, const Panel& x, const Panel& w, std::uint32_t row,
                           std::uint32_t output, Sums& sums) {
  for (std::uint32_t k = 0; k < count; ++k) {
#pragma unroll
    for (std::uint32_t i = 0; i < per_thread; ++i) {
#pragma unroll
      for (std::uint32_t j = 0; j < per_thread; ++j)
        sums[i][j] = fused_product(sums[i][j], x[k][row + i], w[k][output + j]);
    }
  }
}

template <typename Output>
__device__ void store(const MultiplyRows& work, const Tile& tile, std::uint32_t row, std::uint32_t first,
                      const Sums& sums) {
#pragma unroll
  for (std::uint32_t i = 0; i < per_thread; ++i) {
    if (row + i >= tile.num_rows) return;
    auto* const to = reinterpret_cast<Output*>(work.outputs.at(tile.first_row + row + i));
#pragma unroll
    for (std::uint32_t j = 0; j < per_thread; ++j) {
      const WeightRow<group> of(work, tile.first_output, first + j);
      if (of.is_up || of.output >= work.out) continue;
      to[of.output] = from_f32<Output>(finished(work, sums[i][j], sums[i][(j + group) % per_thread]));
    }
  }
}

template <typename Input, typename Output>
__global__ void multiply_rows_f32(MultiplyRows work) {
  __shared__ Panel x;
  __shared__ Panel w;
  const Tile tile = find_tile<threads>(work, tiles());
  if (tile.num_rows == 0) return;
  const std::uint32_t row = threadIdx.x / (side / per_thread) * per_thread;
  const std::uint32_t output = threadIdx.x % (side / per_thread) * per_thread;
  Sums sums = {};
  for (std::uint32_t k = 0; k < work.in; k += depth) {
    load<Input>(work, tile, k, x, w);
    __syncthreads();
    add(work.in - k < depth ? work.in - k : depth, x, w, row, output, sums);
    __syncthreads();
  }
  store<Output>(work, tile, row, output, sums);
  count_computed(work, tile);
}

}  // namespace moewe::multiply_f32
