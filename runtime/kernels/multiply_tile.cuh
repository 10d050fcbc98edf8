#pragma once

#include "runtime/kernels/block_scan.cuh"
#include "runtime/kernels/multiply_sums.hpp"

namespace moewe::multiply {

/// Of slots with so many rows, tiles of [rows, outputs].
struct TileShape {
  std::uint32_t rows;
  std::uint32_t outputs;  ///< of the product, half of which are a gate's where there is one
  std::uint32_t least_rows;
  std::uint32_t most_rows;

  MOEWE_PORTABLE std::uint32_t tiles_along_outputs(const MultiplyRows& work) const {
    const std::uint32_t width = work.finish == Finish::gated ? outputs / 2 : outputs;
    return (work.out + width - 1) / width;
  }

  MOEWE_PORTABLE std::uint32_t tiles_along_rows(std::uint32_t num_rows) const {
    return num_rows < least_rows || num_rows > most_rows ? 0 : (num_rows + rows - 1) / rows;
  }

  /// However the rows are dealt to the slots.
  std::uint32_t most_tiles(const MultiplyRows& work) const {
    const std::uint64_t slots = std::min<std::uint64_t>(work.num_slots, work.max_rows / least_rows);
    const std::uint64_t in_slot = (most_rows - 1) / rows + 1;
    const std::uint64_t along_rows =
        std::min({std::uint64_t{work.max_rows}, work.max_rows / rows + slots, slots * in_slot});
    return static_cast<std::uint32_t>(along_rows * tiles_along_outputs(work));
  }
};

/// What a block computes.
struct Tile {
  std::uint32_t slot;
  std::uint32_t first_row;
  std::uint32_t num_rows;  ///< 0: nothing
  std::uint32_t first_output;
};

/// The block's tile: slot by slot, and in a slot those of the same weights one behind the other, so that
/// these are read from memory once. All threads of the block call it.
template <unsigned int threads>
__device__ Tile find_tile(const MultiplyRows& work, const TileShape& shape) {
  __shared__ std::uint32_t found[2];
  const std::uint32_t along_outputs = shape.tiles_along_outputs(work);
  if (threadIdx.x == 0) found[0] = work.num_slots;
  __syncthreads();
  std::uint32_t before = 0;
  for (std::uint32_t first = 0; first < work.num_slots && before <= blockIdx.x; first += threads) {
    const std::uint32_t slot = first + threadIdx.x;
    const std::uint32_t mine =
        slot < work.num_slots ? shape.tiles_along_rows(rows_of(work, slot).count()) * along_outputs : 0;
    std::uint32_t total = 0;
    const std::uint32_t begin = before + sum_before<threads>(mine, total);
    if (blockIdx.x >= begin && blockIdx.x < begin + mine) {
      found[0] = slot;
      found[1] = blockIdx.x - begin;
    }
    before += total;
  }
  __syncthreads();
  const std::uint32_t slot = found[0];
  if (slot == work.num_slots) return {slot, 0, 0, 0};
  const SlotRows rows = rows_of(work, slot);
  const std::uint32_t along_rows = shape.tiles_along_rows(rows.count());
  const std::uint32_t first_row = rows.first + found[1] % along_rows * shape.rows;
  const std::uint32_t width = work.finish == Finish::gated ? shape.outputs / 2 : shape.outputs;
  return {slot, first_row, std::min(shape.rows, rows.last - first_row), found[1] / along_rows * width};
}

/// Once the rows are written: by one thread of all tiles that share them.
__device__ inline void count_computed(const MultiplyRows& work, const Tile& tile) {
  if (work.computed != nullptr && tile.first_output == 0 && threadIdx.x == 0)
    atomicAdd(work.computed + tile.slot, tile.num_rows);
}

}  // namespace moewe::multiply
