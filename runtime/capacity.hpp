#pragma once

#include <cstddef>

namespace moewe {

/// How a capacity factor becomes a number of assignments, for T tokens over all ranks, top-k and E experts.
/// Each rule rounds where, and in the precision in which, the library rounds that it is named after.
enum class CapacityRule {
  /// ceil((T k / E) factor); no minimum. Megatron-LM, megatron/core/transformer/moe/moe_utils.py.
  megatron,

  /// ceil((T / E) (factor k)), multiplied in f32, since both factors meet in an f32 tensor; at least 4.
  /// DeepSpeed, deepspeed/moe/sharded_moe.py with the minimum of deepspeed/moe/layer.py.
  deepspeed,

  /// ceil(T factor / E), then up to a multiple of 4, so at least 4. k is not multiplied: V-MoE's dispatcher
  /// of
  /// top-k experts passes T k in the place of T, so give k times its factor to get what it gets.
  /// V-MoE, vmoe/moe.py, compute_capacity.
  vmoe,

  /// factor T / E, rounded, half to even; at least 4; k is not multiplied.
  /// Flaxformer, flaxformer/architectures/moe/moe_layers.py.
  flaxformer,

  /// T factor / E, cut; at least 4; k is not multiplied. Mesh TensorFlow,
  /// mesh_tensorflow/transformer/moe.py.
  mesh,
};

/// What becomes of the assignments that their expert has no room for.
enum class OverflowPolicy {
  drop_last,           ///< an expert keeps the first in the order of (token, k)
  drop_lowest_weight,  ///< an expert keeps those with the largest weight, of equal ones the first
  next_choice,         ///< they bid for their token's next best expert that has room
  error,               ///< the step fails
};

/// How much an expert takes, and what becomes of the rest.
struct CapacityOptions {
  CapacityRule rule = CapacityRule::megatron;
  double factor = 1.0;
  OverflowPolicy policy = OverflowPolicy::drop_last;

  /// Whether the weights that a token keeps are scaled to the sum that all of them had.
  bool renormalise = false;

  /// Whether each rank gets its fair share of an expert's capacity first, so that no rank's tokens crowd out
  /// those of others. What is kept then depends on which rank has which tokens. For the policies that drop.
  bool is_fair = false;

  bool operator==(const CapacityOptions&) const = default;
};

/// Throws InvalidInput where the options contradict one another.
void check_capacity(const CapacityOptions& options);

/// How many assignments an expert may get in a step: a pure function, the same on every rank and machine.
///
/// With tokens at least 1 and at most `num_tokens`, whatever the rule: an expert meets a token only once, so
/// that more room drops nothing less; the libraries that give more give it to padding. Without tokens 0.
/// Throws InvalidInput unless the factor is finite and above 0 and 1 <= top_k <= num_experts.
std::size_t expert_capacity(CapacityRule rule, double factor, std::size_t num_tokens, std::size_t top_k,
                            std::size_t num_experts);

}  // namespace moewe
