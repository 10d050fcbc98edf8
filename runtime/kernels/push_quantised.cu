#include "runtime/kernels/launch.cuh"
#include "runtime/kernels/push_quantised.hpp"
#include "runtime/kernels/quantise_block.cuh"
#include "runtime/kernels/rank_of_row.hpp"

namespace moewe {
namespace {

using namespace quantise_block;

/// One row per block in x, a piece of its scales in y.
template <typename Value>
__global__ void push(PushQuantised work) {
  const std::uint32_t i = blockIdx.x;
  if (i >= work.first_row[work.num_ranks]) return;
  const std::uint32_t rank = rank_of_row(i, work.first_row, work.num_ranks);
  const std::uint32_t scale = blockIdx.y * scales_per_block + threadIdx.x / lanes;
  const std::uint32_t column = scale * scale_block + threadIdx.x % lanes * values;
  std::byte* const to =
      work.destinations[rank] + (i - work.first_row[rank]) * quantised_row_bytes(work.hidden);
  quantise_part(reinterpret_cast<const Value*>(work.x) + std::size_t{work.tokens[i]} * work.hidden, column,
                work.hidden, column < work.hidden, reinterpret_cast<E4m3*>(to),
                reinterpret_cast<float*>(to + scales_at(work.hidden)) + scale);
}

}  // namespace

int launch_push_quantised(const PushQuantised& work, StreamHandle stream) {
  if (work.max_rows == 0 || work.hidden == 0) return cudaSuccess;
  const dim3 grid(work.max_rows, (scales_of(work.hidden) + scales_per_block - 1) / scales_per_block);
  auto* const kernel = work.dtype == Dtype::f32 ? push<float> : push<Bf16>;
  return start(kernel, grid, threads, 0, stream, work);
}

}  // namespace moewe
