#include "runtime/kernels/launch.cuh"
#include "runtime/kernels/quantise_block.cuh"
#include "runtime/kernels/quantise_rows.hpp"

namespace moewe {
namespace {

using namespace quantise_block;

/// All rows' scales one behind the other. Threads beyond the last work on nothing, since shuffles want whole
/// warps.
template <typename Value>
__global__ void quantise_all(QuantiseRows work) {
  const std::uint32_t per_row = scales_of(work.hidden);
  const std::size_t number = static_cast<std::size_t>(blockIdx.x) * scales_per_block + threadIdx.x / lanes;
  const std::size_t row = number / per_row;
  const auto column =
      static_cast<std::uint32_t>(number % per_row) * scale_block + threadIdx.x % lanes * values;
  const bool is_mine = row < work.num_rows && column < work.hidden;
  const std::size_t first = is_mine ? row * work.hidden : 0;
  quantise_part(reinterpret_cast<const Value*>(work.x) + first, column, work.hidden, is_mine,
                work.quantised + first, work.scales + number);
}

}  // namespace

int launch_quantise_rows(const QuantiseRows& work, StreamHandle stream) {
  const std::size_t num_scales = static_cast<std::size_t>(work.num_rows) * scales_of(work.hidden);
  if (num_scales == 0) return cudaSuccess;
  const auto blocks = static_cast<unsigned int>((num_scales + scales_per_block - 1) / scales_per_block);
  auto* const kernel = work.dtype == Dtype::f32 ? quantise_all<float> : quantise_all<Bf16>;
  return start(kernel, blocks, threads, 0, stream, work);
}

}  // namespace moewe
