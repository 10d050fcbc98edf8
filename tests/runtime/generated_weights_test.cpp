#include "runtime/generated_weights.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <gtest/gtest.h>
#include <set>
#include <string>
#include <vector>

namespace moewe {
namespace {

const LayerSpec spec{{96, 130}, 8, {.top_k = 2, .has_selection_bias = true}, 70};

struct Matrices {
  std::vector<float> gate;
  std::vector<float> up;
  std::vector<float> down;

  explicit Matrices(const ExpertShape& shape)
      : gate(shape.gated ? shape.hidden * shape.intermediate : 0),
        up(shape.hidden * shape.intermediate),
        down(shape.hidden * shape.intermediate) {}
  ExpertMatrices spans() { return {gate, up, down}; }
  bool operator==(const Matrices&) const = default;
};

Matrices expert_of(const WeightSource& source, int expert, const LayerSpec& layer = spec) {
  Matrices matrices(layer.expert);
  source.read_expert(ExpertId{expert}, matrices.spans());
  return matrices;
}

Matrices shared_of(const WeightSource& source) {
  Matrices matrices(spec.shared_expert());
  source.read_shared_expert(matrices.spans());
  return matrices;
}

std::vector<float> router_of(const WeightSource& source, const LayerSpec& layer = spec) {
  std::vector<float> weights(layer.num_experts * layer.expert.hidden);
  source.read_router(weights);
  return weights;
}

std::vector<float> bias_of(const WeightSource& source, const LayerSpec& layer = spec) {
  std::vector<float> bias(layer.num_experts);
  source.read_selection_bias(bias);
  return bias;
}

/// All tensors of a layer with eight experts.
std::vector<std::vector<float>> all_of(const WeightSource& source) {
  std::vector<std::vector<float>> tensors{router_of(source), bias_of(source)};
  const auto add = [&](const Matrices& m) { tensors.insert(tensors.end(), {m.gate, m.up, m.down}); };
  for (int e = 0; e < 8; ++e) add(expert_of(source, e));
  add(shared_of(source));
  return tensors;
}

TEST(GeneratedWeights, AreTheSameWhateverIsReadBeforeAndOnAnyNumberOfThreads) {
  const LayerSpec wide{{300, 301}, 8, {.top_k = 2}};  // more than one block of values, and an odd number
  const GeneratedWeights one(wide, 7, 3, 1);
  const GeneratedWeights four(wide, 7, 3, 4);
  const Matrices third = expert_of(one, 3, wide);
  router_of(four, wide);
  expert_of(four, 5, wide);
  EXPECT_EQ(expert_of(four, 3, wide), third);
  EXPECT_EQ(expert_of(four, 3, wide), third);
  EXPECT_EQ(router_of(four, wide), router_of(one, wide));
}

TEST(GeneratedWeights, OfAnExpertDoNotDependOnHowManyThereAre) {
  LayerSpec more = spec;
  more.num_experts = 100;
  EXPECT_EQ(expert_of(GeneratedWeights(more, 1, 2, 1), 7), expert_of(GeneratedWeights(spec, 1, 2, 1), 7));
}

TEST(GeneratedWeights, DifferBetweenTensorsExpertsLayersAndSeeds) {
  std::set<std::vector<float>> beginnings;
  std::size_t count = 0;
  for (const std::uint64_t seed : {0U, 1U, 2U}) {
    for (const std::size_t layer : {0U, 1U, 2U}) {
      for (const std::vector<float>& tensor : all_of(GeneratedWeights(spec, seed, layer, 1))) {
        beginnings.emplace(tensor.begin(), tensor.begin() + 8);
        ++count;
      }
    }
  }
  EXPECT_EQ(beginnings.size(), count);
}

// Rounding to bf16 adds less than 1e-5 of the variance; uniform values have a kurtosis of 9/5, so that the
// standard error of the variance is sqrt((9/5 - 1) / n) of it.
void expect_uniform(const std::vector<float>& values, double variance, const std::string& what) {
  const auto n = static_cast<double>(values.size());
  double sum = 0;
  double squares = 0;
  for (const float value : values) {
    sum += static_cast<double>(value);
    squares += static_cast<double>(value) * static_cast<double>(value);
  }
  EXPECT_LT(std::abs(sum / n), 5 * std::sqrt(variance / n)) << what;
  EXPECT_LT(std::abs(squares / n / variance - 1), 5 * std::sqrt(0.8 / n) + 1e-4) << what;
  const float largest = *std::max_element(values.begin(), values.end());
  EXPECT_LE(static_cast<double>(largest), std::sqrt(3 * variance) * (1 + 1.0 / 256)) << what;
}

TEST(GeneratedWeights, KeepTheSizeOfActivations) {
  const LayerSpec layer{{200, 333}, 64, {.top_k = 2, .has_selection_bias = true}, 150};
  const GeneratedWeights source(layer, 11, 0, 2);
  const Matrices expert = expert_of(source, 63, layer);
  expect_uniform(router_of(source, layer), 1.0 / 200, "router");
  expect_uniform(expert.gate, 1.0 / 200, "gate");
  expect_uniform(expert.up, 1.0 / 200, "up");
  expect_uniform(expert.down, 1.0 / 333, "down");
  Matrices shared(layer.shared_expert());
  source.read_shared_expert(shared.spans());
  expect_uniform(shared.gate, 1.0 / 200, "shared gate");
  expect_uniform(shared.up, 1.0 / 200, "shared up");
  expect_uniform(shared.down, 1.0 / 150, "shared down");
}

TEST(GeneratedWeights, HaveASmallSelectionBias) {
  LayerSpec layer = spec;
  layer.num_experts = 4096;
  const std::vector<float> bias = bias_of(GeneratedWeights(layer, 5, 1, 1), layer);
  expect_uniform(bias, 0.05 * 0.05 / 3, "selection bias");
  const auto [least, most] = std::minmax_element(bias.begin(), bias.end());
  EXPECT_GE(*least, -0.0501F);
  EXPECT_LE(*most, 0.0501F);
}

TEST(GeneratedWeights, DoNotFollowOneAnother) {
  const std::vector<float> values = expert_of(GeneratedWeights(spec, 3, 0, 1), 0).gate;
  for (const std::size_t distance : {1U, 2U, 96U}) {
    double correlation = 0;
    const std::size_t n = values.size() - distance;
    for (std::size_t i = 0; i < n; ++i) {
      correlation += static_cast<double>(values[i]) * static_cast<double>(values[i + distance]) * 96;
    }
    EXPECT_LT(std::abs(correlation / static_cast<double>(n)), 5 / std::sqrt(static_cast<double>(n)))
        << distance;
  }
}

TEST(GeneratedWeights, AreValuesThatBf16Holds) {
  for (const std::vector<float>& tensor : all_of(GeneratedWeights(spec, 9, 4, 1))) {
    for (const float value : tensor) ASSERT_EQ(std::bit_cast<std::uint32_t>(value) & 0xFFFFU, 0U) << value;
  }
}

TEST(GeneratedWeights, OfExpertsWithTwoMatricesAreTheSameWithoutTheGate) {
  LayerSpec two = spec;
  two.expert.gated = false;
  const Matrices with_gate = expert_of(GeneratedWeights(spec, 1, 0, 1), 4);
  const Matrices without = expert_of(GeneratedWeights(two, 1, 0, 1), 4, two);
  EXPECT_EQ(without.up, with_gate.up);
  EXPECT_EQ(without.down, with_gate.down);
}

// What a seed means may not change unnoticed: results are compared between versions and machines. Computed
// from the formulas by another program.
TEST(GeneratedWeights, StayWhatTheyAre) {
  const GeneratedWeights source(spec, 42, 1, 1);
  const std::vector<float> gate = expert_of(source, 2).gate;
  const std::vector<float> router = router_of(source);
  EXPECT_EQ(gate[0], 0.11962890625F);
  EXPECT_EQ(gate[1], 0.134765625F);
  EXPECT_EQ(router[95], -0.041015625F);
  EXPECT_EQ(bias_of(source)[7], -0.006378173828125F);
}

}  // namespace
}  // namespace moewe
