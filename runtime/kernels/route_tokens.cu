#include "runtime/kernels/launch.cuh"
#include "runtime/kernels/route_tokens.hpp"
#include "runtime/kernels/token_choice.hpp"

namespace moewe {
namespace {

constexpr unsigned int lanes = 32;
constexpr unsigned int all_lanes = 0xFFFFFFFFU;

/// What a warp works in.
struct Token {
  float* scores;        // [num_experts]
  float* selection;     // [num_experts]
  float* group_scores;  // [num_groups]
  unsigned int lane;
};

__device__ void score(const RouteTokens& work, const float* logits, const Token& token) {
  const std::uint32_t count = work.num_experts;
  if (work.spec.score == Score::sigmoid) {
    for (std::uint32_t e = token.lane; e < count; e += lanes) token.scores[e] = sigmoid_of(logits[e]);
    return __syncwarp();
  }
  float largest = -std::numeric_limits<float>::infinity();
  for (std::uint32_t e = token.lane; e < count; e += lanes) largest = std::max(largest, logits[e]);
  for (unsigned int step = lanes / 2; step > 0; step /= 2)
    largest = std::max(largest, __shfl_xor_sync(all_lanes, largest, step));
  for (std::uint32_t e = token.lane; e < count; e += lanes) token.scores[e] = exp_of(logits[e] - largest);
  __syncwarp();
  const float sum = sum_of(token.scores, count);
  __syncwarp();
  for (std::uint32_t e = token.lane; e < count; e += lanes) token.scores[e] /= sum;
  __syncwarp();
}

__device__ void mask(const RouteTokens& work, const Token& token) {
  const RouterSpec& spec = work.spec;
  const std::size_t size = work.num_experts / spec.num_groups;
  for (std::size_t g = token.lane; g < spec.num_groups; g += lanes)
    token.group_scores[g] = score_group(spec.group_score, token.selection + g * size, size);
  __syncwarp();
  for (std::size_t e = token.lane; e < work.num_experts; e += lanes) {
    if (!is_kept(token.group_scores, spec.num_groups, e / size, spec.kept_groups))
      token.selection[e] = -std::numeric_limits<float>::infinity();
  }
  __syncwarp();
}

/// The best of all lanes' candidates, on every lane.
__device__ Candidate best_of_warp(Candidate best) {
  for (unsigned int step = lanes / 2; step > 0; step /= 2) {
    const Candidate other{__shfl_xor_sync(all_lanes, best.value, step),
                          __shfl_xor_sync(all_lanes, best.expert, step)};
    if (comes_before(other, best)) best = other;
  }
  return best;
}

/// Leaves NaN, which is never chosen, in the place of those that it chose.
__device__ void choose(const RouteTokens& work, const Token& token, ExpertId* experts) {
  for (std::size_t k = 0; k < work.spec.top_k; ++k) {
    Candidate best = no_candidate();
    for (std::uint32_t e = token.lane; e < work.num_experts; e += lanes) {
      const Candidate next{token.selection[e], e};
      if (comes_before(next, best)) best = next;
    }
    best = best_of_warp(best);
    if (best.expert < work.num_experts && best.expert % lanes == token.lane) {
      token.selection[best.expert] = std::numeric_limits<float>::quiet_NaN();
      experts[k] = static_cast<ExpertId>(best.expert);
    }
    __syncwarp();
  }
}

/// One token per block, which is a warp.
__global__ void route(RouteTokens work) {
  if (blockIdx.x >= work.num_tokens.value()) return;
  float* const memory = shared_bytes<float>();
  const Token token{memory, memory + work.num_experts, memory + 2 * work.num_experts, threadIdx.x};
  const std::size_t first = static_cast<std::size_t>(blockIdx.x) * work.num_experts;
  ExpertId* const experts = work.experts + blockIdx.x * work.spec.top_k;
  score(work, work.logits + first, token);
  for (std::uint32_t e = token.lane; e < work.num_experts; e += lanes) {
    const float bias = work.selection_bias == nullptr ? 0.0F : work.selection_bias[e];
    token.selection[e] = work.selection_bias == nullptr ? token.scores[e] : token.scores[e] + bias;
  }
  __syncwarp();
  if (work.spec.kept_groups < work.spec.num_groups) mask(work, token);
  for (std::uint32_t e = token.lane; e < work.num_experts; e += lanes) {
    work.scores[first + e] = token.scores[e];
    work.selection[first + e] = token.selection[e];
  }
  choose(work, token, experts);
  __threadfence_block();  // weigh reads what other lanes chose
  __syncwarp();
  if (token.lane == 0) weigh(work.spec, token.scores, experts, work.weights + blockIdx.x * work.spec.top_k);
}

}  // namespace

int launch_route_tokens(const RouteTokens& work, StreamHandle stream) {
  if (work.num_tokens.at_most == 0) return cudaSuccess;
  const std::size_t bytes = (2 * work.num_experts + work.spec.num_groups) * sizeof(float);
  return start(route, work.num_tokens.at_most, lanes, bytes, stream, work);
}

}  // namespace moewe
