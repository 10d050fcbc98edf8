#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <vector>

#include "runtime/dtype.hpp"
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

/// The nearest values that bf16 holds.
inline std::vector<float> as_bf16(std::vector<float> values) {
  for (float& value : values) value = widen(round_to_bf16(value));
  return values;
}

/// Values as they lie in memory; rounded to the type.
inline std::vector<std::byte> as_bytes_of(Dtype dtype, const std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size() * bytes_of(dtype));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const Bf16 narrow = round_to_bf16(values[i]);
    const void* const value = dtype == Dtype::f32 ? static_cast<const void*>(&values[i]) : &narrow;
    std::memcpy(bytes.data() + i * bytes_of(dtype), value, bytes_of(dtype));
  }
  return bytes;
}

/// A layer's weights from a seed; every expert's depend on its id alone, so that any rank makes the same.
class GeneratedWeights : public WeightSource {
 public:
  GeneratedWeights(LayerSpec spec, std::uint64_t seed) : spec_(spec), seed_(seed) {}

  void read_router(std::span<float> weights) const override { fill(weights, 0, spec_.expert.hidden); }

  void read_expert(ExpertId expert, const ExpertMatrices& matrices) const override {
    fill_matrices(matrices, 1 + 3 * index(expert), spec_.expert.intermediate);
  }

  void read_selection_bias(std::span<float> bias) const override { fill(bias, 1000001, 100); }

  void read_shared_expert(const ExpertMatrices& matrices) const override {
    fill_matrices(matrices, 1000002, spec_.shared_intermediate);
  }

 private:
  void fill_matrices(const ExpertMatrices& matrices, std::uint64_t first, std::size_t intermediate) const {
    fill(matrices.gate, first, spec_.expert.hidden);
    fill(matrices.up, first + 1, spec_.expert.hidden);
    fill(matrices.down, first + 2, intermediate);
  }

  /// Values that bf16 holds, so that a layer has the same weights in either dtype.
  void fill(std::span<float> weights, std::uint64_t tensor, std::size_t inputs) const {
    const std::vector<float> values = random_floats(weights.size(), seed_ * 1000003 + tensor);
    const float scale = 1.0F / std::sqrt(static_cast<float>(inputs));
    for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = widen(round_to_bf16(values[i] * scale));
  }

  LayerSpec spec_;
  std::uint64_t seed_;
};

}  // namespace moewe::test
