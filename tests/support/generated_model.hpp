#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "runtime/layer_spec.hpp"
#include "runtime/weight_source.hpp"

namespace moewe::test {

/// Values around 0 that depend on the seed alone.
inline std::vector<float> random_floats(std::size_t count, std::uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

/// A layer's weights from a seed; every expert's depend on its id alone, so that any rank makes the same.
class GeneratedWeights : public WeightSource {
 public:
  GeneratedWeights(LayerSpec spec, std::uint64_t seed) : spec_(spec), seed_(seed) {}

  void read_router(std::span<float> weights) const override { fill(weights, 0, spec_.expert.hidden); }

  void read_expert(ExpertId expert, const ExpertMatrices& matrices) const override {
    const std::uint64_t first = 1 + 3 * index(expert);
    fill(matrices.gate, first, spec_.expert.hidden);
    fill(matrices.up, first + 1, spec_.expert.hidden);
    fill(matrices.down, first + 2, spec_.expert.intermediate);
  }

 private:
  void fill(std::span<float> weights, std::uint64_t tensor, std::size_t inputs) const {
    const std::vector<float> values = random_floats(weights.size(), seed_ * 1000003 + tensor);
    const float scale = 1.0F / std::sqrt(static_cast<float>(inputs));
    for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = values[i] * scale;
  }

  LayerSpec spec_;
  std::uint64_t seed_;
};

}  // namespace moewe::test
