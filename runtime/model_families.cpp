#include "runtime/model_families.hpp"

namespace moewe {
namespace {

constexpr Selection greedy{"greedy", "softmax", Score::softmax, false, false, GroupScore::largest};
constexpr Selection group_limited_greedy{"group_limited_greedy", "softmax", Score::softmax, false, true,
                                         GroupScore::largest};
constexpr Selection noaux_tc{"noaux_tc", "sigmoid", Score::sigmoid,
                             true,       true,      GroupScore::sum_of_two_largest};

constexpr TensorLayout in_block_sparse_moe{
    .router = "model.layers.{layer}.block_sparse_moe.gate.weight",
    .selection_bias = "model.layers.{layer}.block_sparse_moe.e_score_correction_bias",
    .gate = "model.layers.{layer}.block_sparse_moe.experts.{expert}.w1.weight",
    .up = "model.layers.{layer}.block_sparse_moe.experts.{expert}.w3.weight",
    .down = "model.layers.{layer}.block_sparse_moe.experts.{expert}.w2.weight",
    .shared_gate = "",
    .shared_up = "",
    .shared_down = ""};

constexpr TensorLayout in_mlp{.router = "model.layers.{layer}.mlp.gate.weight",
                              .selection_bias = "model.layers.{layer}.mlp.gate.e_score_correction_bias",
                              .gate = "model.layers.{layer}.mlp.experts.{expert}.gate_proj.weight",
                              .up = "model.layers.{layer}.mlp.experts.{expert}.up_proj.weight",
                              .down = "model.layers.{layer}.mlp.experts.{expert}.down_proj.weight",
                              .shared_gate = "model.layers.{layer}.mlp.shared_experts.gate_proj.weight",
                              .shared_up = "model.layers.{layer}.mlp.shared_experts.up_proj.weight",
                              .shared_down = "model.layers.{layer}.mlp.shared_experts.down_proj.weight"};

/// DeepSeek-V3, R1 and V3.1. What is missing is as in DeepseekV3Config of Hugging Face's transformers, which
/// is DeepSeek-V3 itself; moe_layer_freq, which it does not know, as in DeepSeek's own configuration class.
constexpr ModelFamily deepseek_v3{.model_type = "deepseek_v3",
                                  .tensors = in_mlp,
                                  .selections = {&noaux_tc},
                                  .num_shared = {"n_shared_experts", 1},
                                  .num_groups = {"n_group", 8},
                                  .kept_groups = {"topk_group", 4},
                                  .renormalise = {"norm_topk_prob", true},
                                  .scale = {"routed_scaling_factor", 2.5},
                                  .first_moe_layer = {"first_k_dense_replace", 3},
                                  .period = {"moe_layer_freq", 1}};

/// Kimi K2's configuration class is a copy of DeepSeek-V3's, and so are its defaults.
constexpr ModelFamily make_kimi_k2() {
  ModelFamily family = deepseek_v3;
  family.model_type = "kimi_k2";
  return family;
}

constexpr std::array families{
    ModelFamily{.model_type = "mixtral",
                .tensors = in_block_sparse_moe,
                .selections = {&greedy},
                .intermediate = "intermediate_size",
                .num_experts = {"num_local_experts", "num_experts"},
                .renormalise = {.otherwise = true}},

    // norm_topk_prob is false where it is missing, also in transformers, although all published files say
    // true. Newer versions of transformers write num_local_experts.
    ModelFamily{.model_type = "qwen3_moe",
                .tensors = in_mlp,
                .selections = {&greedy},
                .num_experts = {"num_experts", "num_local_experts"},
                .renormalise = {"norm_topk_prob", false},
                .period = {"decoder_sparse_step", 1},
                .layer_offset = 1,
                .dense_layers = "mlp_only_layers"},

    // Two configuration classes, DeepSeek's own and that of transformers, disagree about a missing number of
    // shared experts and leave out the groups: these must be stated. They also disagree about what a
    // norm_topk_prob of true does to the scale, and no published file has one.
    ModelFamily{.model_type = "deepseek_v2",
                .tensors = in_mlp,
                .selections = {&greedy, &group_limited_greedy},
                .num_shared = {"n_shared_experts"},
                .num_groups = {"n_group"},
                .kept_groups = {"topk_group"},
                .renormalise = {.otherwise = false},
                .scale = {"routed_scaling_factor", 1.0},
                .first_moe_layer = {"first_k_dense_replace", 0},
                .period = {"moe_layer_freq", 1},
                .fixed = {{{"norm_topk_prob", "false"}}}},
    deepseek_v3,
    make_kimi_k2(),

    // As in Glm4MoeConfig of transformers.
    ModelFamily{.model_type = "glm4_moe",
                .tensors = in_mlp,
                .selections = {&noaux_tc},
                .num_shared = {"n_shared_experts", 1},
                .num_groups = {"n_group", 1},
                .kept_groups = {"topk_group", 1},
                .renormalise = {"norm_topk_prob", true},
                .scale = {"routed_scaling_factor", 1.0},
                .first_moe_layer = {"first_k_dense_replace", 1}},

    ModelFamily{.model_type = "olmoe",
                .tensors = in_mlp,
                .selections = {&greedy},
                .intermediate = "intermediate_size",
                .num_experts = {"num_experts", "num_local_experts"},
                .renormalise = {"norm_topk_prob", false}},

    ModelFamily{.model_type = "minimax_m2",
                .tensors = in_block_sparse_moe,
                .selections = {&noaux_tc},
                .intermediate = "intermediate_size",
                .num_experts = {"num_local_experts", "num_experts"},
                .renormalise = {.otherwise = true},
                .fixed = {{{"use_routing_bias", "true"}, {"shared_intermediate_size", "0"}}}},
};

}  // namespace

std::span<const ModelFamily> model_families() { return families; }

}  // namespace moewe
