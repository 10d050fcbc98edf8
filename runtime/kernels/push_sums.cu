#include "runtime/kernels/arrived_sum.hpp"
#include "runtime/kernels/launch.cuh"
#include "runtime/kernels/packs.cuh"
#include "runtime/kernels/push_sums.hpp"

namespace moewe {
namespace {

constexpr unsigned int threads = 256;

/// One row per block in x; a thread sums one pack of its columns.
template <typename Value>
__global__ void push(PushSums work) {
  constexpr unsigned int length = values_per_pack<Value>;
  ArrivedRow arrived;
  if (!find_arrived_row(work.sources, work.num_sources, blockIdx.x, arrived)) return;
  const unsigned int column = (blockIdx.y * threads + threadIdx.x) * length;
  if (column >= work.hidden) return;
  const unsigned int count = work.hidden - column;
  const PlannedAssignment* const assignments = assignments_of(arrived.source.from);
  float sum[length] = {};
  for (std::uint32_t i = arrived.first; is_for(arrived, i); ++i) {
    const std::byte* const output = output_of(work, arrived.source, i);
    if (output == nullptr) continue;
    Value row[length];
    load(reinterpret_cast<const Value*>(output) + column, count, row);
#pragma unroll
    for (unsigned int j = 0; j < length; ++j)
      sum[j] = add_product(sum[j], assignments[i].weight, to_f32(row[j]));
  }
  Value rounded[length];
#pragma unroll
  for (unsigned int j = 0; j < length; ++j) rounded[j] = from_f32<Value>(sum[j]);
  store(rounded, reinterpret_cast<Value*>(sum_of(arrived, work.hidden * sizeof(Value))) + column, count);
}

template <typename Value>
int launch_as(const PushSums& work, StreamHandle stream) {
  constexpr unsigned int columns = threads * values_per_pack<Value>;
  const dim3 grid(work.max_rows, (work.hidden + columns - 1) / columns);
  return start(push<Value>, grid, threads, 0, stream, work);
}

}  // namespace

int launch_push_sums(const PushSums& work, StreamHandle stream) {
  if (work.max_rows == 0 || work.hidden == 0) return cudaSuccess;
  return work.dtype == Dtype::f32 ? launch_as<float>(work, stream) : launch_as<Bf16>(work, stream);
}

}  // namespace moewe
