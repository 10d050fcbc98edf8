#include "runtime/model_config.hpp"

#include <cmath>
#include <gtest/gtest.h>
#include <map>
#include <numeric>

#include "comm/error.hpp"

namespace moewe {
namespace {

/// Keys and values (JSON) of a config.json.
using Keys = std::map<std::string, std::string>;

const Keys mixtral{{"model_type", "\"mixtral\""}, {"hidden_act", "\"silu\""}, {"hidden_size", "128"},
                   {"intermediate_size", "256"},  {"num_hidden_layers", "4"}, {"num_local_experts", "8"},
                   {"num_experts_per_tok", "2"},  {"vocab_size", "256"}};

const Keys qwen3{{"model_type", "\"qwen3_moe\""}, {"hidden_size", "64"},
                 {"moe_intermediate_size", "32"}, {"intermediate_size", "999"},
                 {"num_hidden_layers", "12"},     {"num_experts", "16"},
                 {"num_experts_per_tok", "4"},    {"norm_topk_prob", "true"},
                 {"decoder_sparse_step", "1"},    {"mlp_only_layers", "[]"}};

const Keys deepseek_v2{{"model_type", "\"deepseek_v2\""},
                       {"hidden_size", "64"},
                       {"moe_intermediate_size", "32"},
                       {"num_hidden_layers", "6"},
                       {"n_routed_experts", "16"},
                       {"n_shared_experts", "2"},
                       {"num_experts_per_tok", "6"},
                       {"norm_topk_prob", "false"},
                       {"topk_method", "\"group_limited_greedy\""},
                       {"scoring_func", "\"softmax\""},
                       {"n_group", "8"},
                       {"topk_group", "3"},
                       {"routed_scaling_factor", "16.0"},
                       {"first_k_dense_replace", "1"},
                       {"moe_layer_freq", "1"}};

const Keys deepseek_v3{{"model_type", "\"deepseek_v3\""},
                       {"hidden_size", "64"},
                       {"moe_intermediate_size", "32"},
                       {"num_hidden_layers", "8"},
                       {"n_routed_experts", "32"},
                       {"n_shared_experts", "1"},
                       {"num_experts_per_tok", "4"},
                       {"norm_topk_prob", "true"},
                       {"topk_method", "\"noaux_tc\""},
                       {"scoring_func", "\"sigmoid\""},
                       {"n_group", "4"},
                       {"topk_group", "2"},
                       {"routed_scaling_factor", "2.5"},
                       {"first_k_dense_replace", "3"},
                       {"moe_layer_freq", "1"}};

std::string to_json(const Keys& keys) {
  std::string text = "{";
  for (const auto& [key, value] : keys) text += (text.size() > 1 ? ", \"" : "\"") + key + "\": " + value;
  return text + "}";
}

/// `keys` with other values for some; "" leaves a key out.
Keys with(Keys keys, const Keys& changes) {
  for (const auto& [key, value] : changes) {
    keys[key] = value;
    if (value.empty()) keys.erase(key);
  }
  return keys;
}

ModelConfig parse(const Keys& keys) { return parse_model_config(to_json(keys), "config.json"); }

std::string refusal_of(const std::string& text) {
  try {
    parse_model_config(text, "config.json");
  } catch (const InvalidInput& error) {
    return error.what();
  }
  return "";
}

std::string refusal(const Keys& keys, const Keys& changes) {
  return refusal_of(to_json(with(keys, changes)));
}

std::vector<std::size_t> layers_from(std::size_t first, std::size_t end) {
  std::vector<std::size_t> layers(end - first);
  std::iota(layers.begin(), layers.end(), first);
  return layers;
}

TEST(ModelConfig, ReadsMixtral) {
  const ModelConfig model = parse(mixtral);
  EXPECT_EQ(model.name, "mixtral");
  EXPECT_EQ(model.num_layers, 4U);
  EXPECT_EQ(model.moe_layers, layers_from(0, 4));
  EXPECT_EQ(model.layer, (LayerSpec{{128, 256}, 8, {.top_k = 2, .renormalise = true}}));
  EXPECT_EQ(tensor_name(model.names.router, 3), "model.layers.3.block_sparse_moe.gate.weight");
  EXPECT_EQ(tensor_name(model.names.gate, 0, ExpertId{7}),
            "model.layers.0.block_sparse_moe.experts.7.w1.weight");
  EXPECT_EQ(tensor_name(model.names.up, 0, ExpertId{7}),
            "model.layers.0.block_sparse_moe.experts.7.w3.weight");
  EXPECT_EQ(tensor_name(model.names.down, 0, ExpertId{7}),
            "model.layers.0.block_sparse_moe.experts.7.w2.weight");
  EXPECT_EQ(model.names.selection_bias, "");
  EXPECT_EQ(model.names.shared_gate, "");
}

TEST(ModelConfig, ReadsQwen3) {
  const ModelConfig model = parse(qwen3);
  EXPECT_EQ(model.name, "qwen3_moe");
  EXPECT_EQ(model.moe_layers, layers_from(0, 12));
  EXPECT_EQ(model.layer, (LayerSpec{{64, 32}, 16, {.top_k = 4, .renormalise = true}}));
  EXPECT_EQ(tensor_name(model.names.router, 11), "model.layers.11.mlp.gate.weight");
  EXPECT_EQ(tensor_name(model.names.down, 1, ExpertId{2}), "model.layers.1.mlp.experts.2.down_proj.weight");
  EXPECT_FALSE(parse(with(qwen3, {{"norm_topk_prob", ""}})).layer.router.renormalise);
  EXPECT_EQ(parse(with(qwen3, {{"num_experts", ""}, {"num_local_experts", "8"}})).layer.num_experts, 8U);
}

TEST(ModelConfig, ReadsDeepSeekV2WithItsTwoSelections) {
  const ModelConfig model = parse(deepseek_v2);
  const RouterSpec grouped{.top_k = 6,
                           .renormalise = false,
                           .num_groups = 8,
                           .kept_groups = 3,
                           .group_score = GroupScore::largest,
                           .scale = 16.0F};
  EXPECT_EQ(model.moe_layers, layers_from(1, 6));
  EXPECT_EQ(model.layer, (LayerSpec{{64, 32}, 16, grouped, 64}));
  EXPECT_EQ(model.names.selection_bias, "");
  EXPECT_EQ(tensor_name(model.names.shared_up, 5), "model.layers.5.mlp.shared_experts.up_proj.weight");

  const RouterSpec greedy{.top_k = 6, .renormalise = false, .scale = 16.0F};
  EXPECT_EQ(parse(with(deepseek_v2, {{"topk_method", "\"greedy\""}})).layer.router, greedy);
  const Keys lean{{"topk_method", ""}, {"n_group", "null"}, {"topk_group", "null"}, {"scoring_func", ""}};
  EXPECT_EQ(parse(with(deepseek_v2, lean)).layer.router, greedy);
}

TEST(ModelConfig, ReadsDeepSeekV3) {
  const ModelConfig model = parse(deepseek_v3);
  const RouterSpec router{.top_k = 4,
                          .renormalise = true,
                          .score = Score::sigmoid,
                          .has_selection_bias = true,
                          .num_groups = 4,
                          .kept_groups = 2,
                          .group_score = GroupScore::sum_of_two_largest,
                          .scale = 2.5F};
  EXPECT_EQ(model.name, "deepseek_v3");
  EXPECT_EQ(model.num_layers, 8U);
  EXPECT_EQ(model.moe_layers, layers_from(3, 8));
  EXPECT_EQ(model.layer, (LayerSpec{{64, 32}, 32, router, 32}));
  EXPECT_EQ(tensor_name(model.names.selection_bias, 4), "model.layers.4.mlp.gate.e_score_correction_bias");
  EXPECT_EQ(tensor_name(model.names.gate, 4, ExpertId{31}), "model.layers.4.mlp.experts.31.gate_proj.weight");
  EXPECT_EQ(tensor_name(model.names.shared_gate, 4), "model.layers.4.mlp.shared_experts.gate_proj.weight");
  EXPECT_EQ(tensor_name(model.names.shared_down, 4), "model.layers.4.mlp.shared_experts.down_proj.weight");
  EXPECT_EQ(parse(with(deepseek_v3, {{"model_type", "\"kimi_k2\""}})).layer, model.layer);
}

TEST(ModelConfig, TakesWhatDeepSeekV3FilesLeaveOutFromDeepSeekV3) {
  const ModelConfig model = parse(with(deepseek_v3, {{"num_experts_per_tok", "8"},
                                                     {"n_shared_experts", ""},
                                                     {"norm_topk_prob", ""},
                                                     {"topk_method", ""},
                                                     {"scoring_func", ""},
                                                     {"n_group", ""},
                                                     {"topk_group", ""},
                                                     {"routed_scaling_factor", ""},
                                                     {"first_k_dense_replace", ""},
                                                     {"moe_layer_freq", ""}}));
  const RouterSpec router{8, true, Score::sigmoid, true, 8, 4, GroupScore::sum_of_two_largest, 2.5F};
  EXPECT_EQ(model.layer, (LayerSpec{{64, 32}, 32, router, 32}));
  EXPECT_EQ(model.moe_layers, layers_from(3, 8));
}

TEST(ModelConfig, ReadsFamiliesThatAreOnlyRows) {
  const ModelConfig glm = parse(with(deepseek_v3, {{"model_type", "\"glm4_moe\""},
                                                   {"n_group", "1"},
                                                   {"topk_group", "1"},
                                                   {"first_k_dense_replace", "1"},
                                                   {"routed_scaling_factor", "1"}}));
  const RouterSpec one_group{4, true, Score::sigmoid, true, 1, 1, GroupScore::sum_of_two_largest, 1.0F};
  EXPECT_EQ(glm.layer, (LayerSpec{{64, 32}, 32, one_group, 32}));
  EXPECT_EQ(glm.moe_layers, layers_from(1, 8));

  const ModelConfig olmoe = parse(with(mixtral, {{"model_type", "\"olmoe\""},
                                                 {"num_local_experts", ""},
                                                 {"num_experts", "64"},
                                                 {"norm_topk_prob", "false"}}));
  EXPECT_EQ(olmoe.layer, (LayerSpec{{128, 256}, 64, {.top_k = 2, .renormalise = false}}));
  EXPECT_EQ(tensor_name(olmoe.names.up, 0, ExpertId{3}), "model.layers.0.mlp.experts.3.up_proj.weight");

  const Keys to_minimax{{"model_type", "\"minimax_m2\""}, {"use_routing_bias", "true"}};
  const ModelConfig minimax = parse(with(mixtral, to_minimax));
  EXPECT_EQ(minimax.layer.router,
            (RouterSpec{2, true, Score::sigmoid, true, 1, 1, GroupScore::sum_of_two_largest, 1.0F}));
  EXPECT_EQ(tensor_name(minimax.names.selection_bias, 1),
            "model.layers.1.block_sparse_moe.e_score_correction_bias");
  EXPECT_EQ(refusal(with(mixtral, to_minimax), {{"use_routing_bias", "false"}}),
            "config.json: use_routing_bias false is not known for minimax_m2; known: true");
}

TEST(ModelConfig, FindsTheMoeLayersOfDeepSeek) {
  const auto layers = [](const std::string& first, const std::string& period) {
    return parse(with(deepseek_v3, {{"first_k_dense_replace", first}, {"moe_layer_freq", period}}))
        .moe_layers;
  };
  EXPECT_EQ(layers("0", "1"), layers_from(0, 8));
  EXPECT_EQ(layers("7", "1"), (std::vector<std::size_t>{7}));
  EXPECT_EQ(layers("0", "3"), (std::vector<std::size_t>{0, 3, 6}));
  EXPECT_EQ(layers("1", "2"), (std::vector<std::size_t>{2, 4, 6}));
}

TEST(ModelConfig, FindsTheMoeLayersOfQwen3) {
  const auto layers = [](const std::string& step, const std::string& dense) {
    return parse(with(qwen3, {{"decoder_sparse_step", step}, {"mlp_only_layers", dense}})).moe_layers;
  };
  EXPECT_EQ(layers("1", "null"), layers_from(0, 12));
  EXPECT_EQ(layers("", ""), layers_from(0, 12));
  EXPECT_EQ(layers("4", "[]"), (std::vector<std::size_t>{3, 7, 11}));
  EXPECT_EQ(layers("4", "[7, 0]"), (std::vector<std::size_t>{3, 11}));
  const ModelConfig model = parse(with(qwen3, {{"decoder_sparse_step", "4"}}));
  EXPECT_TRUE(model.is_moe_layer(7));
  EXPECT_FALSE(model.is_moe_layer(8));
  EXPECT_FALSE(model.is_moe_layer(15));
}

TEST(ModelConfig, NamesTheKeyThatMakesNoSense) {
  EXPECT_EQ(refusal(mixtral, {{"hidden_size", ""}}),
            "config.json: hidden_size must be a whole number from 1 to 1048576, not missing");
  for (const std::string bad :
       {"0", "-8", "\"4\"", "2.5", "128.0", "true", "null", "[]", "1048577", "18446744073709551615"}) {
    EXPECT_EQ(refusal(mixtral, {{"hidden_size", bad}}),
              "config.json: hidden_size must be a whole number from 1 to 1048576, not " + bad);
    if (bad == "1048577") continue;
    EXPECT_EQ(refusal(mixtral, {{"intermediate_size", bad}}),
              "config.json: intermediate_size must be a whole number from 1 to 1048576, not " + bad);
  }
  EXPECT_EQ(refusal(mixtral, {{"num_local_experts", "65537"}}),
            "config.json: num_local_experts must be a whole number from 1 to 65536, not 65537");
  EXPECT_EQ(refusal(mixtral, {{"num_hidden_layers", "10001"}}),
            "config.json: num_hidden_layers must be a whole number from 1 to 10000, not 10001");
  EXPECT_EQ(refusal(mixtral, {{"num_experts_per_tok", "9"}}),
            "config.json: num_experts_per_tok must be from 1 to 8, the number of experts, not 9");
  EXPECT_EQ(refusal(mixtral, {{"model_type", "\"llama\""}}),
            "config.json: model_type \"llama\" is not known; known: mixtral, qwen3_moe, deepseek_v2, "
            "deepseek_v3, kimi_k2, glm4_moe, olmoe, minimax_m2");
  EXPECT_EQ(refusal(mixtral, {{"model_type", ""}}), "config.json: model_type must be a string, not missing");
  EXPECT_EQ(refusal(mixtral, {{"model_type", "7"}}), "config.json: model_type must be a string, not 7");
}

TEST(ModelConfig, RefusesWhatIsNotKnown) {
  EXPECT_EQ(refusal(mixtral, {{"hidden_act", "\"gelu\""}}),
            "config.json: hidden_act \"gelu\" is not known for mixtral; known: \"silu\"");
  EXPECT_EQ(refusal(mixtral, {{"hidden_act", "null"}}),
            "config.json: hidden_act null is not known for mixtral; known: \"silu\"");
  EXPECT_EQ(refusal(mixtral, {{"quantization_config", R"({"quant_method": "fp8"})"}}),
            "config.json: quantization_config is there, but quantised weights are not read; f32 or bf16 are");
  EXPECT_EQ(refusal(mixtral, {{"quantization_config", "null"}}), "");
  EXPECT_EQ(refusal(deepseek_v2, {{"norm_topk_prob", "true"}}),
            "config.json: norm_topk_prob true is not known for deepseek_v2; known: false");
  EXPECT_EQ(
      refusal(deepseek_v3, {{"scoring_func", "\"softmax\""}}),
      "config.json: topk_method noaux_tc with scoring_func softmax is not known for deepseek_v3; known: "
      "noaux_tc with sigmoid");
  EXPECT_EQ(
      refusal(deepseek_v2, {{"topk_method", "\"noaux_tc\""}}),
      "config.json: topk_method noaux_tc with scoring_func softmax is not known for deepseek_v2; known: "
      "greedy with softmax, group_limited_greedy with softmax");
  EXPECT_NE(refusal(deepseek_v2, {{"scoring_func", "\"sigmoid\""}}), "");
  EXPECT_EQ(refusal(deepseek_v3, {{"scoring_func", "null"}}),
            "config.json: scoring_func must be a string, not null");
}

TEST(ModelConfig, RefusesFlagsFactorsAndListsOfOtherTypes) {
  EXPECT_EQ(refusal(qwen3, {{"norm_topk_prob", "1"}}),
            "config.json: norm_topk_prob must be true or false, not 1");
  for (const std::string bad : {"0", "-2.5", "true", "\"2.5\"", "null", "1e300", "1e-300"}) {
    const std::string message = refusal(deepseek_v3, {{"routed_scaling_factor", bad}});
    EXPECT_EQ(message.find("config.json: routed_scaling_factor must be a number above 0 and at most 1000000"),
              0U)
        << bad << ": " << message;
  }
  EXPECT_EQ(refusal(qwen3, {{"mlp_only_layers", "3"}}),
            "config.json: mlp_only_layers must be a list of layers, not 3");
  EXPECT_EQ(refusal(qwen3, {{"mlp_only_layers", "[0, 12]"}}),
            "config.json: mlp_only_layers must be a whole number from 0 to 11, not 12");
  EXPECT_EQ(refusal(qwen3, {{"decoder_sparse_step", "0"}}),
            "config.json: decoder_sparse_step must be a whole number from 1 to 10000, not 0");
}

TEST(ModelConfig, RefusesGroupsThatCannotBe) {
  EXPECT_EQ(refusal(deepseek_v3, {{"n_group", "5"}}),
            "config.json: n_group must divide the 32 experts, which 5 does not");
  EXPECT_EQ(refusal(deepseek_v3, {{"topk_group", "5"}}),
            "config.json: topk_group must be from 1 to 4, the number of groups, not 5");
  EXPECT_EQ(refusal(deepseek_v3, {{"n_group", "32"}, {"topk_group", "16"}}),
            "config.json: n_group must be at most 16, not 32: a group is judged by two of its experts");
  EXPECT_EQ(refusal(deepseek_v3, {{"num_experts_per_tok", "17"}}),
            "config.json: topk_group must be at least 3, not 2: num_experts_per_tok is 17 and a group has 8 "
            "experts");
  EXPECT_EQ(refusal(deepseek_v3, {{"num_experts_per_tok", "16"}}), "");
  EXPECT_EQ(refusal(deepseek_v2, {{"n_group", "16"}, {"topk_group", "6"}}), "");
  EXPECT_EQ(refusal(deepseek_v2, {{"n_group", ""}}),
            "config.json: n_group must be a whole number from 1 to 65536, not missing");
}

TEST(ModelConfig, RefusesModelsWithoutAnMoeLayer) {
  EXPECT_EQ(refusal(deepseek_v3, {{"first_k_dense_replace", "8"}}),
            "config.json: no layer is an MoE layer, but one must be: num_hidden_layers is 8, "
            "first_k_dense_replace is 8, moe_layer_freq is 1");
  EXPECT_EQ(refusal(qwen3, {{"decoder_sparse_step", "13"}, {"mlp_only_layers", ""}}),
            "config.json: no layer is an MoE layer, but one must be: num_hidden_layers is 12, "
            "decoder_sparse_step is 13");
}

TEST(ModelConfig, RefusesSharedExpertsThatAreMissingOrTooWide) {
  EXPECT_EQ(parse(with(deepseek_v3, {{"n_shared_experts", "0"}})).names.shared_gate, "");
  EXPECT_EQ(refusal(deepseek_v2, {{"n_shared_experts", ""}}),
            "config.json: n_shared_experts must be a whole number from 0 to 32768, not missing");
  EXPECT_EQ(refusal(deepseek_v3, {{"n_shared_experts", "65536"}}),
            "config.json: n_shared_experts must be a whole number from 0 to 32768, not 65536");
}

TEST(ModelConfig, RefusesWhatIsNotAJsonObjectOfUniqueKeys) {
  EXPECT_NE(refusal_of(""), "");
  EXPECT_NE(refusal_of("[]"), "");
  EXPECT_NE(refusal_of("{\"a\": 1"), "");
  EXPECT_EQ(refusal_of(R"({"model_type": "mixtral", "model_type": "llama"})"),
            "config.json: key 'model_type' stands twice in one object");
  EXPECT_NE(refusal_of(std::string(1000, '[') + std::string(1000, ']')), "");
}

TEST(ModelConfig, RepeatsNoLongValueInAMessage) {
  const std::string long_text = "\"" + std::string(100'000, 'x') + "\"";
  for (const char* key : {"model_type", "hidden_size", "topk_method", "scoring_func", "hidden_act",
                          "norm_topk_prob", "routed_scaling_factor", "mlp_only_layers"}) {
    const std::string message =
        refusal(std::string(key) == "mlp_only_layers" ? qwen3 : deepseek_v3, {{key, long_text}});
    EXPECT_NE(message, "") << key;
    EXPECT_LT(message.size(), 400U) << key;
  }
}

TEST(LayerSpec, IsRefusedInWordsThatNeedNoFile) {
  const LayerSpec good{{128, 64}, 32, {.top_k = 4}};
  EXPECT_NO_THROW(check_layer_spec(good, "--model"));
  const auto refusal = [&](auto&& change) -> std::string {
    LayerSpec spec = good;
    change(spec);
    try {
      check_layer_spec(spec, "--model");
    } catch (const InvalidInput& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(refusal([](LayerSpec& s) { s.expert.hidden = 0; }),
            "--model: the hidden size must be a whole number from 1 to 1048576, not 0");
  EXPECT_EQ(refusal([](LayerSpec& s) { s.expert.intermediate = (1U << 20U) + 1; }),
            "--model: the intermediate size must be a whole number from 1 to 1048576, not 1048577");
  EXPECT_EQ(refusal([](LayerSpec& s) { s.num_experts = 0; }),
            "--model: the number of experts must be a whole number from 1 to 65536, not 0");
  EXPECT_EQ(refusal([](LayerSpec& s) { s.router.top_k = 33; }),
            "--model: top-k must be from 1 to 32, the number of experts, not 33");
  EXPECT_NE(refusal([](LayerSpec& s) { s.router.top_k = 0; }), "");
  EXPECT_NE(refusal([](LayerSpec& s) { s.router.num_groups = 0; }), "");
  EXPECT_NE(refusal([](LayerSpec& s) { s.router.kept_groups = 0; }), "");
  EXPECT_NE(refusal([](LayerSpec& s) { s.router.kept_groups = 2; }), "");
  EXPECT_NE(refusal([](LayerSpec& s) { s.shared_intermediate = (1U << 20U) + 1; }), "");
  for (const float scale : {0.0F, -1.0F, NAN, INFINITY}) {
    EXPECT_NE(refusal([&](LayerSpec& s) { s.router.scale = scale; }), "") << scale;
  }
}

TEST(ModelConfig, QuotesNoControlCharacters) {
  for (const char* key : {"model_type", "topk_method", "scoring_func", "hidden_act"}) {
    const std::string message = refusal(deepseek_v2, {{key, "\"a\\nb\\u0007\""}});
    EXPECT_NE(message, "") << key;
    EXPECT_EQ(message.find_first_of("\n\a"), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace moewe
