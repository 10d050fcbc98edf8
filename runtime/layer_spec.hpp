#pragma once

#include <cstddef>

namespace moewe {

/// The sizes of one expert's gated MLP: y = down (silu(gate x) * (up x)).
struct ExpertShape {
  std::size_t hidden = 0;
  std::size_t intermediate = 0;
};

/// How a token's scores become its choice; facts of a model.
struct RouterSpec {
  std::size_t top_k = 0;

  /// Whether the chosen scores are divided by their sum (Mixtral, Qwen3) or used as they are (OLMoE, Grok-1).
  bool renormalise = true;
};

/// The sizes and rules of one MoE layer.
struct LayerSpec {
  ExpertShape expert;
  std::size_t num_experts = 0;
  RouterSpec router;
};

}  // namespace moewe
