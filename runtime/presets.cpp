#include "runtime/presets.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <numeric>

#include "comm/error.hpp"

namespace moewe {
namespace {

struct Preset {
  const char* name;
  std::size_t num_layers;
  std::size_t first_moe_layer;
  LayerSpec layer;
};

constexpr RouterSpec softmax_of(std::size_t top_k, bool renormalise) {
  return {.top_k = top_k, .renormalise = renormalise};
}

constexpr RouterSpec of_deepseek_v2{.top_k = 6,
                                    .renormalise = false,
                                    .num_groups = 8,
                                    .kept_groups = 3,
                                    .group_score = GroupScore::largest,
                                    .scale = 16.0F};

constexpr RouterSpec of_deepseek_v3{.top_k = 8,
                                    .renormalise = true,
                                    .score = Score::sigmoid,
                                    .has_selection_bias = true,
                                    .num_groups = 8,
                                    .kept_groups = 4,
                                    .group_score = GroupScore::sum_of_two_largest,
                                    .scale = 2.5F};

constexpr std::array presets{
    Preset{"mixtral-8x7b", 32, 0, {{4096, 14336}, 8, softmax_of(2, true)}},
    Preset{"mixtral-8x22b", 56, 0, {{6144, 16384}, 8, softmax_of(2, true)}},
    Preset{"deepseek-v2-lite", 27, 1, {{2048, 1408}, 64, softmax_of(6, false), 2816}},
    Preset{"deepseek-v2", 60, 1, {{5120, 1536}, 160, of_deepseek_v2, 3072}},
    Preset{"deepseek-v3", 61, 3, {{7168, 2048}, 256, of_deepseek_v3, 2048}},
    Preset{"deepseek-r1", 61, 3, {{7168, 2048}, 256, of_deepseek_v3, 2048}},
    Preset{"qwen3-30b-a3b", 48, 0, {{2048, 768}, 128, softmax_of(8, true)}},
    Preset{"qwen3-235b-a22b", 94, 0, {{4096, 1536}, 128, softmax_of(8, true)}},
};

}  // namespace

ModelConfig find_preset(const std::string& name) {
  const auto* found =
      std::find_if(presets.begin(), presets.end(), [&](const Preset& preset) { return preset.name == name; });
  if (found == presets.end()) {
    throw InvalidInput(
        fmt::format("model '{:.60}' is not known; choose from: {}", name, fmt::join(preset_names(), ", ")));
  }
  ModelConfig model{.name = name,
                    .num_layers = found->num_layers,
                    .moe_layers = std::vector<std::size_t>(found->num_layers - found->first_moe_layer),
                    .layer = found->layer,
                    .names = {}};
  std::iota(model.moe_layers.begin(), model.moe_layers.end(), found->first_moe_layer);
  return model;
}

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const Preset& preset : presets) names.emplace_back(preset.name);
  return names;
}

}  // namespace moewe
