#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "comm/buffer.hpp"
#include "runtime/kernels/matmul.hpp"
#include "runtime/layer_spec.hpp"
#include "runtime/routing.hpp"

namespace moewe {

/// Softmax top-k: score_e = exp(l_e - max l) / sum exp(l - max l) over the logits l = W x, all in f32. The k
/// best scores are chosen, equal ones by lower expert id. Weights are summed in the order of the choice.
class Router {
 public:
  /// `weights` is [num_experts, hidden], row-major.
  Router(RouterSpec spec, std::shared_ptr<const Matmul> matmul, MemoryMeter& meter,
         std::span<const float> weights);

  std::size_t num_experts() const { return matmul_->out(); }
  std::size_t top_k() const { return spec_.top_k; }

  /// Local. `x` is [num_tokens, hidden], row-major. A token's choice depends on that token alone. Throws
  /// InvalidInput, naming the token, when a logit is not finite.
  void route(std::span<const float> x, std::size_t num_tokens, Routing& routing,
             std::size_t num_threads) const;

 private:
  RouterSpec spec_;
  std::shared_ptr<const Matmul> matmul_;
  Buffer packed_weights_;
};

/// Turns one token's logits into scores in place.
void softmax(std::span<float> logits);

/// The k best of `scores`, best first, equal ones by lower id. `experts` and `weights` have k elements.
void choose_top_k(std::span<const float> scores, std::span<ExpertId> experts, std::span<float> weights);

}  // namespace moewe
