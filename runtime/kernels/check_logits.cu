#include <cmath>

#include "runtime/kernels/check_logits.hpp"
#include "runtime/kernels/launch.cuh"

namespace moewe {
namespace {

constexpr unsigned int threads = 256;

__global__ void check(CheckLogits work) {
  const std::size_t i = static_cast<std::size_t>(blockIdx.x) * threads + threadIdx.x;
  if (i >= std::size_t{work.num_tokens.value()} * work.num_experts || std::isfinite(work.logits[i])) return;
  work.logits[i] = 0.0F;
  atomicMin(work.bad_token, static_cast<std::uint32_t>(i / work.num_experts));
}

}  // namespace

int launch_check_logits(const CheckLogits& work, StreamHandle stream) {
  const std::size_t count = std::size_t{work.num_tokens.at_most} * work.num_experts;
  if (count == 0) return cudaSuccess;
  return start(check, static_cast<unsigned int>((count + threads - 1) / threads), threads, 0, stream, work);
}

}  // namespace moewe
