#pragma once

#include <cstddef>

namespace moewe {

enum class Activation {
  silu,  ///< t / (1 + exp(-t))
  gelu,  ///< 0.5 t (1 + tanh(sqrt(2 / pi) (t + 0.044715 t^3)))
  relu,  ///< max(t, 0)
};

/// One expert's MLP.
///
///   gated:  y = down (activation(gate x) * (up x))     three matrices (Mixtral, Qwen3, DeepSeek)
///   else:   y = down activation(up x)                  two matrices (Switch)
struct ExpertShape {
  std::size_t hidden = 0;
  std::size_t intermediate = 0;
  Activation activation = Activation::silu;
  bool gated = true;

  bool operator==(const ExpertShape&) const = default;
};

/// How logits l become scores s, one per expert.
enum class Score {
  softmax,  ///< s = exp(l - max l) / sum exp(l - max l)
  sigmoid,  ///< s = 1 / (1 + exp(-l))
};

/// How good a group of experts is, from what its experts are selected by.
enum class GroupScore {
  largest,             ///< DeepSeek-V2
  sum_of_two_largest,  ///< DeepSeek-V3
};

/// How a token's logits become its choice; facts of a model.
///
/// Experts are selected by score, plus the selection bias where there is one. With groups (of neighbouring
/// experts, equally many each) only experts of the best `kept_groups` groups can be selected. A chosen
/// expert's weight is its score without bias, divided by the sum of the chosen scores if `renormalise`, times
/// `scale`.
struct RouterSpec {
  std::size_t top_k = 0;
  bool renormalise = true;
  Score score = Score::softmax;
  bool has_selection_bias = false;
  std::size_t num_groups = 1;
  std::size_t kept_groups = 1;
  GroupScore group_score = GroupScore::largest;
  float scale = 1.0F;

  bool operator==(const RouterSpec&) const = default;
};

/// The sizes and rules of one MoE layer.
struct LayerSpec {
  ExpertShape expert;
  std::size_t num_experts = 0;
  RouterSpec router;

  /// Width of the shared experts, which every token passes, taken together as one MLP with the experts'
  /// activation; 0 where there are none.
  std::size_t shared_intermediate = 0;

  bool has_shared_expert() const { return shared_intermediate > 0; }
  ExpertShape shared_expert() const {
    return {expert.hidden, shared_intermediate, expert.activation, expert.gated};
  }

  bool operator==(const LayerSpec&) const = default;
};

}  // namespace moewe
