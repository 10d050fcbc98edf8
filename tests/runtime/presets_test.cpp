#include "runtime/presets.hpp"

#include <array>
#include <gtest/gtest.h>

#include "comm/error.hpp"

namespace moewe {
namespace {

/// What the publishers' model cards and reports say, rounded as there.
struct Published {
  const char* name;
  std::size_t num_layers;
  double millions_per_expert;
  double billions_of_experts;
  std::size_t num_experts;
  std::size_t top_k;
};

constexpr std::array published{
    Published{"mixtral-8x7b", 32, 176.2, 45.10, 8, 2},
    Published{"mixtral-8x22b", 56, 302.0, 135.29, 8, 2},
    Published{"deepseek-v2-lite", 27, 8.65, 14.39, 64, 6},
    Published{"deepseek-v2", 60, 23.6, 222.72, 160, 6},
    Published{"deepseek-v3", 61, 44.0, 653.91, 256, 8},
    Published{"deepseek-r1", 61, 44.0, 653.91, 256, 8},
    Published{"qwen3-30b-a3b", 48, 4.72, 28.99, 128, 8},
    Published{"qwen3-235b-a22b", 94, 18.9, 227.10, 128, 8},
};

double parameters_per_expert(const LayerSpec& layer) {
  return 3.0 * static_cast<double>(layer.expert.hidden) * static_cast<double>(layer.expert.intermediate);
}

TEST(Presets, HaveAsManyParametersAsWasPublished) {
  for (const Published& expected : published) {
    const ModelConfig model = find_preset(expected.name);
    const double per_expert = parameters_per_expert(model.layer);
    const auto copies = static_cast<double>(model.layer.num_experts * model.moe_layers.size());
    EXPECT_NEAR(per_expert / 1e6, expected.millions_per_expert, 0.051) << expected.name;
    EXPECT_NEAR(per_expert * copies / 1e9, expected.billions_of_experts, 0.0051) << expected.name;
    EXPECT_EQ(model.num_layers, expected.num_layers) << expected.name;
    EXPECT_EQ(model.layer.num_experts, expected.num_experts) << expected.name;
    EXPECT_EQ(model.layer.router.top_k, expected.top_k) << expected.name;
    EXPECT_EQ(model.name, expected.name);
  }
}

TEST(Presets, AreAllListedAndKeepTheRules) {
  ASSERT_EQ(preset_names().size(), published.size());
  for (const std::string& name : preset_names()) {
    const ModelConfig model = find_preset(name);
    EXPECT_NO_THROW(check_layer_spec(model.layer, name));
    EXPECT_EQ(model.moe_layers.back() + 1, model.num_layers) << name;
    EXPECT_EQ(model.names.router, "") << name;
  }
}

TEST(Presets, OfOneFamilyRouteAlike) {
  const LayerSpec v3 = find_preset("deepseek-v3").layer;
  EXPECT_EQ(v3.router,
            (RouterSpec{8, true, Score::sigmoid, true, 8, 4, GroupScore::sum_of_two_largest, 2.5F}));
  EXPECT_EQ(v3.shared_intermediate, 2048U);
  EXPECT_EQ(find_preset("deepseek-v3").moe_layers.front(), 3U);
  EXPECT_EQ(find_preset("deepseek-r1").layer, v3);

  const LayerSpec v2 = find_preset("deepseek-v2").layer;
  EXPECT_EQ(v2.router, (RouterSpec{6, false, Score::softmax, false, 8, 3, GroupScore::largest, 16.0F}));
  EXPECT_EQ(v2.shared_intermediate, 3072U);
  EXPECT_EQ(find_preset("deepseek-v2-lite").layer.router, (RouterSpec{.top_k = 6, .renormalise = false}));
  EXPECT_EQ(find_preset("deepseek-v2-lite").layer.shared_intermediate, 2816U);

  for (const char* name : {"mixtral-8x7b", "mixtral-8x22b", "qwen3-30b-a3b", "qwen3-235b-a22b"}) {
    const ModelConfig model = find_preset(name);
    EXPECT_EQ(model.layer.router, (RouterSpec{.top_k = model.layer.router.top_k, .renormalise = true}))
        << name;
    EXPECT_FALSE(model.layer.has_shared_expert()) << name;
    EXPECT_EQ(model.moe_layers.size(), model.num_layers) << name;
  }
}

TEST(Presets, NamesTheKnownOnesWhenAskedForAnother) {
  try {
    find_preset("gpt-2");
    ADD_FAILURE() << "nothing was thrown";
  } catch (const InvalidInput& error) {
    EXPECT_STREQ(error.what(),
                 "model 'gpt-2' is not known; choose from: mixtral-8x7b, mixtral-8x22b, deepseek-v2-lite, "
                 "deepseek-v2, deepseek-v3, deepseek-r1, qwen3-30b-a3b, qwen3-235b-a22b");
  }
}

}  // namespace
}  // namespace moewe
