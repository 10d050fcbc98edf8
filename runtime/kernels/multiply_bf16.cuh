#pragma once

#include "runtime/kernels/launch.cuh"
#include "runtime/kernels/multiply_tile.cuh"
#include "runtime/kernels/packs.cuh"
#include "runtime/kernels/tensor_core.cuh"

namespace moewe::multiply_bf16 {

using namespace multiply;

constexpr std::uint32_t depth = 64;  // values of a row that a stage has
constexpr std::uint32_t pack = values_per_pack<Bf16>;
constexpr std::uint32_t packs_per_row = depth / pack;
constexpr std::uint32_t matrix = 8;         // side of what is loaded for a matrix unit
constexpr std::uint32_t step = 2 * matrix;  // values of a row that it multiplies at a time
constexpr unsigned int warp = 32;

/// A block's tile of `rows` x `outputs`, cut into one piece for each of warps_down x warps_across warps, with
/// `stages` of its inputs and weights under way.
template <std::uint32_t in_rows, std::uint32_t in_outputs, std::uint32_t down, std::uint32_t across,
          std::uint32_t in_stages, std::uint32_t least_rows, std::uint32_t most_rows>
struct Shape {
  static constexpr std::uint32_t rows = in_rows;
  static constexpr std::uint32_t outputs = in_outputs;
  static constexpr TileShape tiles() { return {rows, outputs, least_rows, most_rows}; }
  static constexpr std::uint32_t warps_across = across;
  static constexpr std::uint32_t stages = in_stages;
  static constexpr unsigned int threads = down * across * warp;
  static constexpr std::uint32_t warp_rows = rows / down;
  static constexpr std::uint32_t warp_outputs = outputs / across;
  static constexpr std::uint32_t row_blocks = warp_rows / step;
  static constexpr std::uint32_t output_blocks = warp_outputs / matrix;
  static constexpr std::uint32_t lines = rows + outputs;  // of a stage: rows of inputs, then of weights
  static constexpr std::size_t stage_bytes = std::size_t{lines} * depth * sizeof(Bf16);
  static constexpr std::size_t result_stride = outputs + pack;  // against bank conflicts
  static constexpr std::size_t result_bytes = rows * result_stride * sizeof(float);
  static constexpr std::size_t shared_bytes = std::max(stages * stage_bytes, result_bytes);
  static_assert(output_blocks % 2 == 0, "gate and up beside one another, loaded in pairs");
};

using Large = Shape<128, 128, 2, 4, 3, MultiplyRows::few_rows + 1, 0xFFFFFFFFU>;
using Small = Shape<16, 64, 1, 4, 6, 1, MultiplyRows::few_rows>;

/// Where a line's pack lies in a stage, so that eight lines' packs of a column lie in different banks.
__device__ inline std::size_t pack_place(std::uint32_t line, std::uint32_t column) {
  return (std::size_t{line} * packs_per_row + (column ^ line % packs_per_row)) * pack_bytes;
}

/// Up to a pack of a line's values from `k` on, then zeros. `line` may be null: zeros alone.
__device__ inline void copy_pack(const Bf16* line, std::uint32_t k, std::uint32_t in, const Bf16* somewhere,
                                 std::byte* to) {
  const std::uint32_t count = line == nullptr || k >= in ? 0 : in - k < pack ? in - k : pack;
  const Bf16* const from = count == 0 ? somewhere : line + k;
  if (is_aligned(from)) {
    copy_to_shared(to, reinterpret_cast<const std::byte*>(from), count * sizeof(Bf16));
    return;
  }
  for (std::uint32_t i = 0; i < pack; ++i) reinterpret_cast<Bf16*>(to)[i] = i < count ? from[i] : Bf16{};
}

/// One block's work. All functions are called by all of its threads.
template <typename S>
class Product {
 public:
  __device__ Product(const MultiplyRows& work, const Tile& tile, std::byte* memory, const Bf16** lines)
      : work_(work), tile_(tile), memory_(memory), lines_(lines) {
    const auto* const weights = reinterpret_cast<const Bf16*>(work.weights[tile.slot]);
    for (std::uint32_t i = threadIdx.x; i < S::lines; i += S::threads) {
      lines_[i] = i < S::rows ? input_line(i) : weight_line(weights, i - S::rows);
    }
    somewhere_ =
        reinterpret_cast<const Bf16*>(reinterpret_cast<std::uintptr_t>(weights) / pack_bytes * pack_bytes);
    __syncthreads();
  }

  __device__ void run() {
    const std::uint32_t num_stages = (work_.in + depth - 1) / depth;
    for (std::uint32_t s = 0; s + 1 < S::stages; ++s) begin_stage(s, num_stages);
    for (std::uint32_t s = 0; s < num_stages; ++s) {
      wait_for_copies<S::stages - 2>();
      __syncthreads();  // all threads' copies are there, and nobody reads the stage that is begun next
      begin_stage(s + S::stages - 1, num_stages);
      add(memory_ + s % S::stages * S::stage_bytes);
    }
    wait_for_copies<0>();
    __syncthreads();
  }

  /// By way of shared memory, so that neighbouring threads write neighbouring packs.
  template <typename Output>
  __device__ void store_rows() {
    keep_results<Output>();
    __syncthreads();
    constexpr std::uint32_t length = values_per_pack<Output>;
    const std::uint32_t width = work_.finish == Finish::gated ? S::outputs / 2 : S::outputs;
    const std::uint32_t count = std::min(width, work_.out - tile_.first_output);
    const std::uint32_t num_packs = (count + length - 1) / length;
    for (std::uint32_t i = threadIdx.x; i < tile_.num_rows * num_packs; i += S::threads) {
      const std::uint32_t row = i / num_packs;
      const std::uint32_t column = i % num_packs * length;
      Output values[length];
      load(results<Output>() + row * S::result_stride + column, length, values);
      auto* const to = reinterpret_cast<Output*>(work_.outputs.at(tile_.first_row + row));
      store(values, to + tile_.first_output + column, count - column);
    }
  }

 private:
  __device__ static std::uint32_t lane() { return threadIdx.x % warp; }
  __device__ static std::uint32_t first_row() { return threadIdx.x / warp / S::warps_across * S::warp_rows; }
  __device__ static std::uint32_t first_output() {
    return threadIdx.x / warp % S::warps_across * S::warp_outputs;
  }

  __device__ const Bf16* input_line(std::uint32_t row) const {
    if (row >= tile_.num_rows) return nullptr;
    return reinterpret_cast<const Bf16*>(work_.inputs.at(tile_.first_row + row));
  }

  __device__ const Bf16* weight_line(const Bf16* weights, std::uint32_t i) const {
    const WeightRow<matrix> row(work_, tile_.first_output, i);
    return row.output < work_.out ? weights + row.offset(work_) : nullptr;
  }

  template <typename Output>
  __device__ Output* results() {
    return reinterpret_cast<Output*>(memory_);
  }

  /// Always closes a group, so that they can be counted.
  __device__ void begin_stage(std::uint32_t stage, std::uint32_t num_stages) {
    std::byte* const to = memory_ + stage % S::stages * S::stage_bytes;
    for (std::uint32_t i = threadIdx.x; stage < num_stages && i < S::lines * packs_per_row; i += S::threads) {
      const std::uint32_t line = i / packs_per_row;
      const std::uint32_t column = i % packs_per_row;
      copy_pack(lines_[line], stage * depth + column * pack, work_.in, somewhere_,
                to + pack_place(line, column));
    }
    close_copy_group();
  }

  __device__ void add(const std::byte* stage) {
#pragma unroll
    for (std::uint32_t k = 0; k < depth; k += step) {
      std::uint32_t x[S::row_blocks][4];
#pragma unroll
      for (std::uint32_t i = 0; i < S::row_blocks; ++i) {
        const std::uint32_t line = first_row() + i * step + lane() % step;
        load_matrices(stage + pack_place(line, k / pack + lane() / step), x[i]);
      }
#pragma unroll
      for (std::uint32_t j = 0; j < S::output_blocks; j += 2) add_two_blocks(stage, k, j, x);
    }
  }

  __device__ void add_two_blocks(const std::byte* stage, std::uint32_t k, std::uint32_t j,
                                 const std::uint32_t (&x)[S::row_blocks][4]) {
    std::uint32_t w[4];
    const std::uint32_t output = first_output() + (j + lane() / step) * matrix + lane() % matrix;
    load_matrices(stage + pack_place(S::rows + output, k / pack + lane() / matrix % 2), w);
    const std::uint32_t first[2] = {w[0], w[1]};
    const std::uint32_t second[2] = {w[2], w[3]};
#pragma unroll
    for (std::uint32_t i = 0; i < S::row_blocks; ++i) {
      multiply_add(sums_[i][j], x[i], first);
      multiply_add(sums_[i][j + 1], x[i], second);
    }
  }

  template <typename Output>
  __device__ void keep_results() {
    const bool is_gated = work_.finish == Finish::gated;
#pragma unroll
    for (std::uint32_t i = 0; i < S::row_blocks; ++i) {
#pragma unroll
      for (std::uint32_t j = 0; j < S::output_blocks; ++j) {
        if (is_gated && j % 2 == 1) continue;
        const std::uint32_t column = (first_output() / matrix + j) / (is_gated ? 2 : 1) * matrix;
#pragma unroll
        for (std::uint32_t e = 0; e < 4; ++e) {
          const std::uint32_t row = first_row() + i * step + e / 2 * matrix + lane() / 4;
          results<Output>()[row * S::result_stride + column + lane() % 4 * 2 + e % 2] =
              from_f32<Output>(finished(work_, sums_[i][j][e], sums_[i][j | 1U][e]));
        }
      }
    }
  }

  const MultiplyRows& work_;
  const Tile& tile_;
  std::byte* memory_;
  const Bf16** lines_;  // [S::lines] in shared memory; null beyond the rows' and the outputs' ends
  const Bf16* somewhere_;
  float sums_[S::row_blocks][S::output_blocks][4] = {};
};

template <typename S, typename Output>
__global__ void __launch_bounds__(S::threads) multiply_rows_bf16(MultiplyRows work) {
  __shared__ const Bf16* lines[S::lines];
  const Tile tile = find_tile<S::threads>(work, S::tiles());
  if (tile.num_rows == 0) return;
  Product<S> product(work, tile, shared_bytes<std::byte>(), lines);
  product.run();
  product.template store_rows<Output>();
  count_computed(work, tile);
}

}  // namespace moewe::multiply_bf16
