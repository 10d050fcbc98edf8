#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "comm/buffer.hpp"
#include "runtime/kernels/matmul.hpp"
#include "runtime/layer_spec.hpp"
#include "runtime/routing.hpp"
#include "runtime/token_rows.hpp"
#include "runtime/workspace.hpp"

namespace moewe {

/// Routes as RouterSpec says, from the logits l = W x, all in f32. Equal groups are kept and equal experts
/// chosen by lower number.
class Router {
 public:
  /// `weights` is [num_experts, hidden], row-major; `selection_bias` [num_experts], or empty where the model
  /// has none. Throws InvalidInput, naming the expert, when a bias is not finite.
  Router(RouterSpec spec, std::shared_ptr<const Matmul> matmul, MemoryMeter& meter,
         std::span<const float> weights, std::span<const float> selection_bias);

  std::size_t num_experts() const { return matmul_->out(); }
  std::size_t top_k() const { return spec_.top_k; }

  /// Local. `x` is [num_tokens, hidden] of either dtype. A token's choice depends on that token alone. Throws
  /// InvalidInput when an input or a logit is not finite, naming the token by its place in `x`, and the
  /// column or the expert.
  void route(const TokenRows& x, std::size_t num_tokens, RoutingTable& routing, Workspace& workspace) const;

  /// All weights and biases, for as long as the router lives.
  std::vector<std::span<const std::byte>> bytes() const;

  /// That route() works in, per thread.
  static std::size_t scratch_bytes_for(const LayerSpec& spec);

 private:
  void choose(std::span<float> selection, std::span<float> scratch, std::span<ExpertId> experts,
              std::span<float> weights) const;
  void route_tile(const TokenRows& x, std::size_t first, std::size_t count, RoutingTable& routing,
                  float* scratch) const;
  std::size_t choice_scratch_length() const { return selection_bias_.size() + spec_.num_groups; }
  std::size_t scratch_bytes() const;

  RouterSpec spec_;
  std::shared_ptr<const Matmul> matmul_;
  Buffer packed_weights_;
  std::vector<float> selection_bias_;
};

/// Turn one token's logits, which are finite, into scores in place.
void softmax(std::span<float> logits);
void sigmoid(std::span<float> logits);

/// Makes -infinity of all but the best `kept_groups` groups of `selection`. `group_scores` is scratch, of
/// num_groups elements.
void mask_groups(const RouterSpec& spec, std::span<float> selection, std::span<float> group_scores);

/// The k best of `selection`, best first, equal ones by lower id, and what they were selected by. `experts`
/// and `values` have k elements. Nothing is NaN.
void choose_top_k(std::span<const float> selection, std::span<ExpertId> experts, std::span<float> values);

/// The weights of the chosen experts, summed in the order of the choice.
void weigh_choice(const RouterSpec& spec, std::span<const float> scores, std::span<const ExpertId> experts,
                  std::span<float> weights);

}  // namespace moewe
