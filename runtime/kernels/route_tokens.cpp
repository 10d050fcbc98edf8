#include "runtime/kernels/route_tokens.hpp"

#include <vector>

#include "runtime/kernels/token_choice.hpp"

namespace moewe {
namespace {

constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

void score(const RouteTokens& work, const float* logits, float* scores) {
  const std::uint32_t count = work.num_experts;
  if (work.spec.score == Score::sigmoid) {
    for (std::uint32_t e = 0; e < count; ++e) scores[e] = sigmoid_of(logits[e]);
    return;
  }
  const float largest = *std::max_element(logits, logits + count);
  for (std::uint32_t e = 0; e < count; ++e) scores[e] = exp_of(logits[e] - largest);
  const float sum = sum_of(scores, count);
  for (std::uint32_t e = 0; e < count; ++e) scores[e] /= sum;
}

void mask(const RouterSpec& spec, std::uint32_t num_experts, float* selection) {
  const std::size_t size = num_experts / spec.num_groups;
  std::vector<float> group_scores;
  for (std::size_t g = 0; g < spec.num_groups; ++g)
    group_scores.push_back(score_group(spec.group_score, selection + g * size, size));
  for (std::size_t g = 0; g < spec.num_groups; ++g) {
    if (is_kept(group_scores.data(), spec.num_groups, g, spec.kept_groups)) continue;
    std::fill_n(selection + g * size, size, minus_infinity);
  }
}

void choose(const float* selection, std::uint32_t num_experts, std::size_t top_k, ExpertId* experts) {
  std::vector<bool> is_chosen(num_experts, false);
  for (std::size_t k = 0; k < top_k; ++k) {
    Candidate best = no_candidate();
    for (std::uint32_t e = 0; e < num_experts; ++e) {
      const Candidate next{selection[e], e};
      if (!is_chosen[e] && comes_before(next, best)) best = next;
    }
    is_chosen[best.expert] = true;
    experts[k] = expert_at(best.expert);
  }
}

void route_on_host(const RouteTokens& work) {
  const RouterSpec& spec = work.spec;
  for (std::size_t token = 0; token < work.num_tokens.value(); ++token) {
    float* const scores = work.scores + token * work.num_experts;
    float* const selection = work.selection + token * work.num_experts;
    ExpertId* const experts = work.experts + token * spec.top_k;
    score(work, work.logits + token * work.num_experts, scores);
    for (std::uint32_t e = 0; e < work.num_experts; ++e)
      selection[e] = work.selection_bias == nullptr ? scores[e] : scores[e] + work.selection_bias[e];
    if (spec.kept_groups < spec.num_groups) mask(spec, work.num_experts, selection);
    choose(selection, work.num_experts, spec.top_k, experts);
    weigh(spec, scores, experts, work.weights + token * spec.top_k);
  }
}

}  // namespace

const Kernel<RouteTokens> route_tokens{"route_tokens", route_on_host, MOEWE_ON_GPU(launch_route_tokens)};

}  // namespace moewe
