#include "runtime/model_config.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <fmt/args.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "comm/error.hpp"
#include "runtime/strict_json.hpp"

namespace moewe {
namespace {

constexpr std::size_t max_config_bytes = 1 << 20;
constexpr std::int64_t max_dimension = 1 << 20;

/// Everything in which one family of models differs from another. A new family is a new row.
struct ModelFamily {
  const char* model_type;
  struct {
    const char* hidden;
    const char* intermediate;
    const char* num_layers;
    const char* num_experts;
    const char* top_k;
  } keys;
  bool renormalise;
  const char* router;
  const char* gate;
  const char* up;
  const char* down;
};

constexpr std::array<ModelFamily, 1> families{{
    {.model_type = "mixtral",
     .keys = {.hidden = "hidden_size",
              .intermediate = "intermediate_size",
              .num_layers = "num_hidden_layers",
              .num_experts = "num_local_experts",
              .top_k = "num_experts_per_tok"},
     .renormalise = true,
     .router = "model.layers.{layer}.block_sparse_moe.gate.weight",
     .gate = "model.layers.{layer}.block_sparse_moe.experts.{expert}.w1.weight",
     .up = "model.layers.{layer}.block_sparse_moe.experts.{expert}.w3.weight",
     .down = "model.layers.{layer}.block_sparse_moe.experts.{expert}.w2.weight"},
}};

const ModelFamily& find_family(const std::string& model_type, const std::string& where) {
  const auto* found = std::find_if(families.begin(), families.end(), [&](const ModelFamily& family) {
    return family.model_type == model_type;
  });
  if (found != families.end()) return *found;
  std::string known;
  for (const ModelFamily& family : families) known += fmt::format(" {}", family.model_type);
  throw InvalidInput(fmt::format("{}: model_type '{}' is not known; known:{}", where, model_type, known));
}

std::string read_string(const nlohmann::json& config, const char* key, const std::string& where) {
  if (!config.contains(key) || !config[key].is_string()) {
    throw InvalidInput(fmt::format("{}: {} must be a string", where, key));
  }
  return config[key].get<std::string>();
}

std::size_t read_count(const nlohmann::json& config, const char* key, const std::string& where) {
  const auto reject = [&](const std::string& value) {
    throw InvalidInput(
        fmt::format("{}: {} must be a whole number from 1 to {}, not {}", where, key, max_dimension, value));
  };
  if (!config.contains(key)) reject("missing");
  if (!config[key].is_number_integer()) reject(config[key].dump());
  const auto value = config[key].get<std::int64_t>();
  if (value < 1 || value > max_dimension) reject(config[key].dump());
  return static_cast<std::size_t>(value);
}

}  // namespace

ModelConfig parse_model_config(const std::string& text, const std::string& where) {
  const nlohmann::json config = parse_strict_json(text, where);
  if (!config.is_object()) throw InvalidInput(fmt::format("{}: not a JSON object", where));
  const ModelFamily& family = find_family(read_string(config, "model_type", where), where);
  if (const std::string activation = read_string(config, "hidden_act", where); activation != "silu") {
    throw InvalidInput(fmt::format("{}: hidden_act '{}' is not known; known: silu", where, activation));
  }
  const auto count = [&](const char* key) { return read_count(config, key, where); };
  ModelConfig model;
  model.family = family.model_type;
  model.num_layers = count(family.keys.num_layers);
  model.layer.expert = {count(family.keys.hidden), count(family.keys.intermediate)};
  model.layer.num_experts = count(family.keys.num_experts);
  model.layer.router = {count(family.keys.top_k), family.renormalise};
  model.names = {family.router, family.gate, family.up, family.down};
  if (model.layer.router.top_k > model.layer.num_experts) {
    throw InvalidInput(fmt::format("{}: {} is {}, more than the {} experts", where, family.keys.top_k,
                                   model.layer.router.top_k, model.layer.num_experts));
  }
  return model;
}

ModelConfig read_model_config(const std::filesystem::path& config_json) {
  return parse_model_config(read_text(config_json, max_config_bytes), config_json.string());
}

std::string tensor_name(const std::string& pattern, std::size_t layer, ExpertId expert) {
  return fmt::format(fmt::runtime(pattern), fmt::arg("layer", layer), fmt::arg("expert", number(expert)));
}

}  // namespace moewe
