#include "runtime/model_config.hpp"

#include <gtest/gtest.h>

#include "comm/error.hpp"

namespace moewe {
namespace {

/// A Mixtral config.json, with `replacement` for the line of one key; "" leaves the line out.
std::string config_with(const std::string& key, const std::string& replacement) {
  const std::vector<std::pair<std::string, std::string>> lines{
      {"model_type", R"("model_type": "mixtral")"},
      {"hidden_act", R"("hidden_act": "silu")"},
      {"hidden_size", R"("hidden_size": 128)"},
      {"intermediate_size", R"("intermediate_size": 256)"},
      {"num_hidden_layers", R"("num_hidden_layers": 4)"},
      {"num_local_experts", R"("num_local_experts": 8)"},
      {"num_experts_per_tok", R"("num_experts_per_tok": 2)"}};
  std::string text = R"({"vocab_size": 256)";
  for (const auto& [name, line] : lines) {
    const std::string& used = name == key ? replacement : line;
    if (!used.empty()) text += ", " + used;
  }
  return text + "}";
}

std::string refusal(const std::string& text) {
  try {
    parse_model_config(text, "config.json");
  } catch (const InvalidInput& error) {
    return error.what();
  }
  return "";
}

TEST(ModelConfig, ReadsMixtral) {
  const ModelConfig model = parse_model_config(config_with("", ""), "config.json");
  EXPECT_EQ(model.family, "mixtral");
  EXPECT_EQ(model.num_layers, 4U);
  EXPECT_EQ(model.layer.expert.hidden, 128U);
  EXPECT_EQ(model.layer.expert.intermediate, 256U);
  EXPECT_EQ(model.layer.num_experts, 8U);
  EXPECT_EQ(model.layer.router.top_k, 2U);
  EXPECT_TRUE(model.layer.router.renormalise);
  EXPECT_EQ(tensor_name(model.names.router, 3), "model.layers.3.block_sparse_moe.gate.weight");
  EXPECT_EQ(tensor_name(model.names.gate, 0, ExpertId{7}),
            "model.layers.0.block_sparse_moe.experts.7.w1.weight");
  EXPECT_EQ(tensor_name(model.names.up, 0, ExpertId{7}),
            "model.layers.0.block_sparse_moe.experts.7.w3.weight");
  EXPECT_EQ(tensor_name(model.names.down, 0, ExpertId{7}),
            "model.layers.0.block_sparse_moe.experts.7.w2.weight");
}

TEST(ModelConfig, NamesTheKeyThatMakesNoSense) {
  EXPECT_EQ(refusal(config_with("hidden_size", "")),
            "config.json: hidden_size must be a whole number from 1 to 1048576, not missing");
  EXPECT_EQ(refusal(config_with("hidden_size", R"("hidden_size": 0)")),
            "config.json: hidden_size must be a whole number from 1 to 1048576, not 0");
  EXPECT_EQ(refusal(config_with("num_local_experts", R"("num_local_experts": -8)")),
            "config.json: num_local_experts must be a whole number from 1 to 1048576, not -8");
  EXPECT_EQ(refusal(config_with("num_hidden_layers", R"("num_hidden_layers": "4")")),
            "config.json: num_hidden_layers must be a whole number from 1 to 1048576, not \"4\"");
  EXPECT_EQ(refusal(config_with("intermediate_size", R"("intermediate_size": 2.5)")),
            "config.json: intermediate_size must be a whole number from 1 to 1048576, not 2.5");
  EXPECT_EQ(
      refusal(config_with("intermediate_size", R"("intermediate_size": 18446744073709551615)")),
      "config.json: intermediate_size must be a whole number from 1 to 1048576, not 18446744073709551615");
  EXPECT_EQ(refusal(config_with("num_experts_per_tok", R"("num_experts_per_tok": 9)")),
            "config.json: num_experts_per_tok is 9, more than the 8 experts");
  EXPECT_EQ(refusal(config_with("model_type", R"("model_type": "llama")")),
            "config.json: model_type 'llama' is not known; known: mixtral");
  EXPECT_EQ(refusal(config_with("hidden_act", R"("hidden_act": "gelu")")),
            "config.json: hidden_act 'gelu' is not known; known: silu");
  EXPECT_EQ(refusal(config_with("model_type", "")), "config.json: model_type must be a string");
}

TEST(ModelConfig, RefusesWhatIsNotAJsonObjectOfUniqueKeys) {
  EXPECT_NE(refusal(""), "");
  EXPECT_NE(refusal("[]"), "");
  EXPECT_NE(refusal("{\"a\": 1"), "");
  EXPECT_EQ(refusal(R"({"model_type": "mixtral", "model_type": "llama"})"),
            "config.json: key 'model_type' stands twice in one object");
  EXPECT_NE(refusal(std::string(1000, '[') + std::string(1000, ']')), "");
}

}  // namespace
}  // namespace moewe
