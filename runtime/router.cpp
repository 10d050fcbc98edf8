#include "runtime/router.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <numeric>

#include "comm/error.hpp"
#include "runtime/parallel.hpp"

namespace moewe {
namespace {

void require_finite(std::span<const float> logits, std::size_t token) {
  const auto bad = std::find_if_not(logits.begin(), logits.end(), [](float l) { return std::isfinite(l); });
  if (bad == logits.end()) return;
  throw InvalidInput(
      fmt::format("router: token {} gives expert {} the logit {}; inputs and router weights must be finite",
                  token, bad - logits.begin(), *bad));
}

void divide_by_sum(std::span<float> weights) {
  const float sum = std::accumulate(weights.begin(), weights.end(), 0.0F);
  for (float& weight : weights) weight /= sum;
}

}  // namespace

Router::Router(RouterSpec spec, std::shared_ptr<const Matmul> matmul, MemoryMeter& meter,
               std::span<const float> weights)
    : spec_(spec),
      matmul_(std::move(matmul)),
      packed_weights_(matmul_->pack(meter, "router weights", weights)) {}

void Router::route(std::span<const float> x, std::size_t num_tokens, Routing& routing,
                   std::size_t num_threads) const {
  const std::size_t k = spec_.top_k;
  routing.num_tokens = num_tokens;
  routing.top_k = k;
  routing.experts.resize(num_tokens * k);
  routing.weights.resize(num_tokens * k);
  routing.scores.resize(num_tokens * num_experts());
  const std::span<float> scores(routing.scores);
  const std::size_t tile = Matmul::max_rows;
  parallel_for(num_threads, (num_tokens + tile - 1) / tile, [&](std::size_t t, std::size_t) {
    const std::size_t begin = t * tile;
    const std::size_t end = std::min(begin + tile, num_tokens);
    matmul_->apply(x.data() + begin * matmul_->in(), end - begin, packed_weights_,
                   scores.data() + begin * num_experts());
    for (std::size_t token = begin; token < end; ++token) {
      const std::span<float> mine = scores.subspan(token * num_experts(), num_experts());
      require_finite(mine, token);
      softmax(mine);
      const std::span<float> weights(routing.weights.data() + token * k, k);
      choose_top_k(mine, {routing.experts.data() + token * k, k}, weights);
      if (spec_.renormalise) divide_by_sum(weights);
    }
  });
}

void softmax(std::span<float> logits) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  float sum = 0.0F;
  for (float& value : logits) {
    value = std::exp(value - largest);
    sum += value;
  }
  for (float& value : logits) value /= sum;
}

void choose_top_k(std::span<const float> scores, std::span<ExpertId> experts, std::span<float> weights) {
  std::size_t num_chosen = 0;
  for (std::size_t e = 0; e < scores.size(); ++e) {
    if (num_chosen < experts.size()) {
      ++num_chosen;
    } else if (!(scores[e] > weights.back())) {
      continue;
    }
    // Ids come in ascending order, so that moving only smaller scores down keeps the lower id first.
    std::size_t place = num_chosen - 1;
    for (; place > 0 && scores[e] > weights[place - 1]; --place) {
      weights[place] = weights[place - 1];
      experts[place] = experts[place - 1];
    }
    weights[place] = scores[e];
    experts[place] = expert_at(e);
  }
}

}  // namespace moewe
