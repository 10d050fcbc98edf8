#include "runtime/kernels/combine_tokens.hpp"
#include "runtime/kernels/launch.cuh"
#include "runtime/kernels/packs.cuh"
#include "runtime/kernels/portable.hpp"

namespace moewe {
namespace {

constexpr unsigned int threads = 256;

/// One token per block in x; a thread sums one pack of its columns.
template <typename Value>
__global__ void combine(CombineTokens work) {
  if (blockIdx.x >= work.num_tokens.value()) return;
  constexpr unsigned int length = values_per_pack<Value>;
  const unsigned int column = (blockIdx.y * threads + threadIdx.x) * length;
  if (column >= work.hidden) return;
  const std::size_t first = static_cast<std::size_t>(blockIdx.x) * work.top_k;
  const unsigned int count = work.hidden - column;
  float sum[length] = {};
#pragma unroll 4
  for (unsigned int k = 0; k < work.top_k; ++k) {
    const std::byte* const output = work.outputs[first + k];
    if (output == nullptr) continue;
    const float weight = work.weights == nullptr ? 1.0F : work.weights[first + k];
    Value row[length];
    load(reinterpret_cast<const Value*>(output) + column, count, row);
#pragma unroll
    for (unsigned int i = 0; i < length; ++i) sum[i] = add_product(sum[i], weight, to_f32(row[i]));
  }
  float* const y = work.y + static_cast<std::size_t>(blockIdx.x) * work.hidden + column;
  if (work.addend != nullptr) {
    float before[length];
    load(work.addend + static_cast<std::size_t>(blockIdx.x) * work.hidden + column, count, before);
#pragma unroll
    for (unsigned int i = 0; i < length; ++i) sum[i] = add_product(sum[i], 1.0F, before[i]);
  }
  store(sum, y, count);
}

template <typename Value>
int launch_as(const CombineTokens& work, StreamHandle stream) {
  constexpr unsigned int columns = threads * values_per_pack<Value>;
  const dim3 grid(work.num_tokens.at_most, (work.hidden + columns - 1) / columns);
  return start(combine<Value>, grid, threads, 0, stream, work);
}

}  // namespace

int launch_combine_tokens(const CombineTokens& work, StreamHandle stream) {
  if (work.num_tokens.at_most == 0 || work.hidden == 0) return cudaSuccess;
  return work.dtype == Dtype::f32 ? launch_as<float>(work, stream) : launch_as<Bf16>(work, stream);
}

}  // namespace moewe
