#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "placement/expert_id.hpp"
#include "runtime/layer_spec.hpp"

namespace moewe {

/// Where a checkpoint keeps the tensors of one MoE layer. {layer} and {expert} stand for their numbers. Empty
/// where a family has no such tensor.
struct TensorNames {
  std::string router;
  std::string selection_bias;
  std::string gate;
  std::string up;
  std::string down;
  std::string shared_gate;
  std::string shared_up;
  std::string shared_down;
};

/// What a model is, as far as its MoE layers go; these are all alike.
struct ModelConfig {
  std::string name;                     ///< Hugging Face's model_type, the name of a preset, or "custom"
  std::size_t num_layers = 0;           ///< of all kinds
  std::vector<std::size_t> moe_layers;  ///< the model's numbers, ascending
  LayerSpec layer;
  TensorNames names;

  bool is_moe_layer(std::size_t number) const;
};

/// Reads a Hugging Face config.json. Throws InvalidInput, naming key, value and what would be right, for a
/// family that is not known, for values that are missing or make no sense, and for quantised weights.
ModelConfig read_model_config(const std::filesystem::path& config_json);

/// The same from the file's text; `where` begins every message.
ModelConfig parse_model_config(const std::string& text, const std::string& where);

/// Throws InvalidInput, naming the rule that is broken, for sizes that no layer can have: something 0 or
/// absurdly large, top-k above the number of experts that can be selected, groups that do not divide the
/// experts ... `where` begins every message. The one place of these rules, whoever states the sizes.
void check_layer_spec(const LayerSpec& spec, const std::string& where);

/// "model.layers.3.block_sparse_moe.gate.weight"
std::string tensor_name(const std::string& pattern, std::size_t layer, ExpertId expert = ExpertId{0});

}  // namespace moewe
