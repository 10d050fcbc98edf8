#include "benchmarks/expert_work.hpp"

#include <algorithm>

namespace moewe::bench {

KeptWeights::KeptWeights(const LayerSpec& spec, const WeightSource& source)
    : router_(spec.num_experts * spec.expert.hidden), experts_(spec.num_experts) {
  source.read_router(router_);
  const std::size_t matrix = spec.expert.hidden * spec.expert.intermediate;
  for (std::size_t e = 0; e < spec.num_experts; ++e) {
    experts_[e] = {std::vector<float>(2 * matrix), std::vector<float>(matrix)};
    const std::span<float> gate_up = experts_[e].gate_up;
    source.read_expert(expert_at(e), {gate_up.first(matrix), gate_up.last(matrix), experts_[e].down});
  }
}

void KeptWeights::read_router(std::span<float> weights) const { std::ranges::copy(router_, weights.begin()); }

void KeptWeights::read_expert(ExpertId expert, const ExpertMatrices& matrices) const {
  const std::size_t matrix = matrices.up.size();
  std::ranges::copy(gate_up(expert).first(matrix), matrices.gate.begin());
  std::ranges::copy(gate_up(expert).last(matrix), matrices.up.begin());
  std::ranges::copy(down(expert), matrices.down.begin());
}

}  // namespace moewe::bench
