#include "runtime/kernels/dequantise_rows.hpp"
#include "runtime/kernels/launch.cuh"
#include "runtime/kernels/packs.cuh"
#include "runtime/kernels/portable.hpp"

namespace moewe {
namespace {

constexpr unsigned int threads = 256;
constexpr unsigned int values = pack_bytes;  // of a thread: a pack of FP8, which shares one scale
static_assert(scale_block % values == 0);

/// One row per block in x, a piece of it in y.
template <typename Value>
__global__ void dequantise(DequantiseRows work) {
  const std::uint32_t column = (blockIdx.y * threads + threadIdx.x) * values;
  if (column >= work.hidden) return;
  const std::size_t row = blockIdx.x;
  const std::size_t at = row * work.hidden + column;
  const unsigned int count = work.hidden - column;
  const float scale = work.scales[row * scales_of(work.hidden) + column / scale_block];
  E4m3 codes[values];
  load(work.quantised + at, count, codes);
  Value y[values];
#pragma unroll
  for (unsigned int i = 0; i < values; ++i) y[i] = from_f32<Value>(scale * to_f32(codes[i]));
  store(y, reinterpret_cast<Value*>(work.y) + at, count);
}

}  // namespace

int launch_dequantise_rows(const DequantiseRows& work, StreamHandle stream) {
  if (work.num_rows == 0 || work.hidden == 0) return cudaSuccess;
  constexpr unsigned int columns = threads * values;
  const dim3 grid(work.num_rows, (work.hidden + columns - 1) / columns);
  auto* const kernel = work.dtype == Dtype::f32 ? dequantise<float> : dequantise<Bf16>;
  return start(kernel, grid, threads, 0, stream, work);
}

}  // namespace moewe
