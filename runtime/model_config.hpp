#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

#include "placement/expert_id.hpp"
#include "runtime/layer_spec.hpp"

namespace moewe {

/// Where a checkpoint keeps the tensors of one MoE layer. {layer} and {expert} stand for their numbers.
struct TensorNames {
  std::string router;
  std::string gate;
  std::string up;
  std::string down;
};

/// What a model is, as far as its MoE layers go. All layers are alike.
struct ModelConfig {
  std::string family;  ///< Hugging Face's model_type
  std::size_t num_layers = 0;
  LayerSpec layer;
  TensorNames names;
};

/// Reads a Hugging Face config.json. Throws InvalidInput, naming the key, for a family that is not known and
/// for values that are missing or make no sense.
ModelConfig read_model_config(const std::filesystem::path& config_json);

/// The same from the file's text; `where` begins every message.
ModelConfig parse_model_config(const std::string& text, const std::string& where);

/// "model.layers.3.block_sparse_moe.gate.weight"
std::string tensor_name(const std::string& pattern, std::size_t layer, ExpertId expert = ExpertId{0});

}  // namespace moewe
