#pragma once

#include "placement/expert_id.hpp"
#include "runtime/kernels/activation_element.hpp"
#include "runtime/kernels/expert_choice.hpp"
#include "runtime/kernels/portable.hpp"

namespace moewe {

MOEWE_PORTABLE inline float sigmoid_of(float logit) { return 1.0F / (1.0F + exp_of(-logit)); }

/// In the order of the experts.
MOEWE_PORTABLE inline float sum_of(const float* values, std::uint32_t count) {
  float sum = 0.0F;
  for (std::uint32_t i = 0; i < count; ++i) sum += values[i];
  return sum;
}

/// The weights of the chosen experts: see weigh_choice().
MOEWE_PORTABLE inline void weigh(const RouterSpec& spec, const float* scores, const ExpertId* experts,
                                 float* weights) {
  float sum = 0.0F;
  for (std::size_t k = 0; k < spec.top_k; ++k) sum += scores[static_cast<std::uint32_t>(experts[k])];
  if (spec.renormalise) sum += 1e-20F;
  for (std::size_t k = 0; k < spec.top_k; ++k) {
    const float score = scores[static_cast<std::uint32_t>(experts[k])];
    weights[k] = (spec.renormalise ? score / sum : score) * spec.scale;
  }
}

}  // namespace moewe
