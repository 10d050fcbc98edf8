#include "runtime/kernels/activate_rows.hpp"
#include "runtime/kernels/activated_element.hpp"
#include "runtime/kernels/launch.cuh"
#include "runtime/kernels/packs.cuh"

namespace moewe {
namespace {

constexpr unsigned int threads = 256;
constexpr unsigned int values = 8;  // of a thread: a pack of bf16

/// One row per block in x; a thread has some of its values.
template <Activation activation, typename Sum, typename Hidden>
__global__ void activate(ActivateRows work) {
  const unsigned int first = (blockIdx.y * threads + threadIdx.x) * values;
  if (first >= work.length) return;
  const unsigned int count = work.length - first;
  const std::size_t row = blockIdx.x;
  const SumsOfRow<Sum> sums(work, row);
  Sum gate[values] = {};
  Sum up[values];
  Hidden hidden[values];
  if (work.is_gated) load(sums.gate + first, count, gate);
  load(sums.up + first, count, up);
#pragma unroll
  for (unsigned int i = 0; i < values; ++i)
    hidden[i] = activated_element<activation, Hidden>(work, to_f32(gate[i]), to_f32(up[i]));
  store(hidden, reinterpret_cast<Hidden*>(work.hidden) + row * work.length + first, count);
}

template <Activation activation, typename Sum>
int launch_sums(const ActivateRows& work, StreamHandle stream) {
  const dim3 grid(work.num_rows, (work.length + threads * values - 1) / (threads * values));
  auto* const kernel =
      work.dtype == Dtype::f32 ? activate<activation, Sum, float> : activate<activation, Sum, Bf16>;
  return start(kernel, grid, threads, 0, stream, work);
}

template <Activation activation>
int launch_with(const ActivateRows& work, StreamHandle stream) {
  return work.sums_dtype == Dtype::f32 ? launch_sums<activation, float>(work, stream)
                                       : launch_sums<activation, Bf16>(work, stream);
}

}  // namespace

int launch_activate_rows(const ActivateRows& work, StreamHandle stream) {
  if (work.num_rows == 0 || work.length == 0) return cudaSuccess;
  switch (work.activation) {
    case Activation::silu:
      return launch_with<Activation::silu>(work, stream);
    case Activation::gelu:
      return launch_with<Activation::gelu>(work, stream);
    case Activation::relu:
      return launch_with<Activation::relu>(work, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace moewe
