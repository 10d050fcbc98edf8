#include "runtime/kernels/activate_rows.hpp"
#include "runtime/kernels/activation_element.hpp"
#include "runtime/kernels/launch.cuh"
#include "runtime/kernels/packs.cuh"
#include "runtime/kernels/portable.hpp"

namespace moewe {
namespace {

constexpr unsigned int threads = 256;
constexpr unsigned int values = 8;  // of a thread: a pack of bf16

template <Activation activation, typename Hidden>
__global__ void activate(ActivateRows work) {
  const std::size_t first = (static_cast<std::size_t>(blockIdx.x) * threads + threadIdx.x) * values;
  if (first >= work.length) return;
  const std::size_t left = work.length - first;
  const unsigned int count = left < values ? static_cast<unsigned int>(left) : values;
  float gate[values];
  float up[values];
  Hidden hidden[values];
  if (work.gate != nullptr) load(work.gate + first, count, gate);
  load(work.up + first, count, up);
#pragma unroll
  for (unsigned int i = 0; i < values; ++i) {
    const float value =
        work.gate == nullptr ? activated<activation>(up[i]) : activated<activation>(gate[i]) * up[i];
    hidden[i] = from_f32<Hidden>(value);
  }
  store(hidden, reinterpret_cast<Hidden*>(work.hidden) + first, count);
}

template <Activation activation>
int launch_with(const ActivateRows& work, StreamHandle stream) {
  const auto blocks = static_cast<unsigned int>((work.length + threads * values - 1) / (threads * values));
  auto* const kernel = work.dtype == Dtype::f32 ? activate<activation, float> : activate<activation, Bf16>;
  return start(kernel, blocks, threads, 0, stream, work);
}

}  // namespace

int launch_activate_rows(const ActivateRows& work, StreamHandle stream) {
  if (work.length == 0) return cudaSuccess;
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
