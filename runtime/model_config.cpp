#include "runtime/model_config.hpp"

#include <algorithm>
#include <cstdint>
#include <fmt/args.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "comm/error.hpp"
#include "runtime/layer_rules.hpp"
#include "runtime/model_families.hpp"
#include "runtime/strict_json.hpp"

namespace moewe {
namespace {

using nlohmann::json;

constexpr std::size_t max_config_bytes = 1 << 20;

/// A config.json and the row of its family.
class ConfigReader {
 public:
  ConfigReader(const json& config, const std::string& where)
      : config_(config), where_(where), family_(find_family()) {}

  ModelConfig read() const;

 private:
  const ModelFamily& find_family() const;
  void require_known() const;
  const Selection& read_selection() const;
  RouterSpec read_router() const;
  LayerSpec read_layer() const;
  SizeWords words() const;
  std::vector<std::size_t> read_moe_layers(std::size_t num_layers) const;
  std::vector<bool> read_dense_layers(std::size_t num_layers) const;

  const char* num_experts_key() const;
  bool has(const char* key) const { return config_.contains(key) && !config_[key].is_null(); }
  std::string describe(const char* key) const;
  std::string text(const char* key, const char* otherwise) const;
  std::size_t count(const json& value, const char* key, Range range) const;
  std::size_t count(const char* key, Range range) const;
  std::size_t count(const Setting<std::size_t>& setting, Range range) const;
  bool flag(const Setting<bool>& setting) const;
  float factor(const Setting<double>& setting) const;

  const json& config_;
  const std::string& where_;
  const ModelFamily& family_;
};

const ModelFamily& ConfigReader::find_family() const {
  const std::string model_type = text("model_type", nullptr);
  std::vector<std::string> known;
  for (const ModelFamily& family : model_families()) {
    if (family.model_type == model_type) return family;
    known.emplace_back(family.model_type);
  }
  refuse(where_, "model_type {} is not known; known: {}", describe("model_type"), fmt::join(known, ", "));
}

void ConfigReader::require_known() const {
  if (has("quantization_config")) {
    refuse(where_, "quantization_config is there, but quantised weights are not read; f32 or bf16 are");
  }
  const auto require = [&](const FixedKey& fixed) {
    if (fixed.key == nullptr || !config_.contains(fixed.key) ||
        config_[fixed.key] == json::parse(fixed.value))
      return;
    refuse(where_, "{} {} is not known for {}; known: {}", fixed.key, describe(fixed.key), family_.model_type,
           fixed.value);
  };
  require({"hidden_act", "\"silu\""});
  for (const FixedKey& fixed : family_.fixed) require(fixed);
}

const Selection& ConfigReader::read_selection() const {
  const std::string method = text("topk_method", family_.selections[0]->topk_method);
  const std::string scoring = text("scoring_func", family_.selections[0]->scoring_func);
  std::vector<std::string> known;
  for (const Selection* selection : family_.selections) {
    if (selection == nullptr) break;
    if (method == selection->topk_method && scoring == selection->scoring_func) return *selection;
    known.push_back(fmt::format("{} with {}", selection->topk_method, selection->scoring_func));
  }
  refuse(where_, "topk_method {:.60} with scoring_func {:.60} is not known for {}; known: {}", method,
         scoring, family_.model_type, fmt::join(known, ", "));
}

RouterSpec ConfigReader::read_router() const {
  const Selection& selection = read_selection();
  RouterSpec router{.top_k = count(top_k_key, {1, max_experts}),
                    .renormalise = flag(family_.renormalise),
                    .score = selection.score,
                    .has_selection_bias = selection.has_bias,
                    .group_score = selection.group_score,
                    .scale = factor(family_.scale)};
  if (selection.has_groups) {
    router.num_groups = count(family_.num_groups, {1, max_experts});
    router.kept_groups = count(family_.kept_groups, {1, max_experts});
  }
  return router;
}

SizeWords ConfigReader::words() const {
  SizeWords words{.hidden = hidden_key,
                  .intermediate = family_.intermediate,
                  .num_experts = num_experts_key(),
                  .top_k = top_k_key};
  if (family_.num_groups.key != nullptr) words.num_groups = family_.num_groups.key;
  if (family_.kept_groups.key != nullptr) words.kept_groups = family_.kept_groups.key;
  if (family_.scale.key != nullptr) words.scale = family_.scale.key;
  return words;
}

LayerSpec ConfigReader::read_layer() const {
  const ExpertShape expert{count(hidden_key, {1, max_dimension}),
                           count(family_.intermediate, {1, max_dimension})};
  const std::size_t num_shared = count(family_.num_shared, {0, max_dimension / expert.intermediate});
  const LayerSpec layer{.expert = expert,
                        .num_experts = count(num_experts_key(), {1, max_experts}),
                        .router = read_router(),
                        .shared_intermediate = num_shared * expert.intermediate};
  check_layer_spec(layer, where_, words());
  return layer;
}

std::vector<bool> ConfigReader::read_dense_layers(std::size_t num_layers) const {
  std::vector<bool> dense(num_layers, false);
  const char* const key = family_.dense_layers;
  if (key == nullptr || !has(key)) return dense;
  if (!config_[key].is_array()) refuse(where_, "{} must be a list of layers, not {}", key, describe(key));
  for (const json& element : config_[key]) dense[count(element, key, {0, num_layers - 1})] = true;
  return dense;
}

std::vector<std::size_t> ConfigReader::read_moe_layers(std::size_t num_layers) const {
  const std::size_t first = count(family_.first_moe_layer, {0, max_layers});
  const std::size_t period = count(family_.period, {1, max_layers});
  const std::vector<bool> dense = read_dense_layers(num_layers);
  std::vector<std::size_t> layers;
  for (std::size_t n = first; n < num_layers; ++n) {
    if (!dense[n] && (n + family_.layer_offset) % period == 0) layers.push_back(n);
  }
  if (!layers.empty()) return layers;
  std::string stated = fmt::format("{} is {}", num_layers_key, num_layers);
  for (const char* key : {family_.first_moe_layer.key, family_.period.key, family_.dense_layers}) {
    if (key != nullptr && has(key)) stated += fmt::format(", {} is {}", key, describe(key));
  }
  refuse(where_, "no layer is an MoE layer, but one must be: {}", stated);
}

ModelConfig ConfigReader::read() const {
  require_known();
  ModelConfig model{.name = family_.model_type,
                    .num_layers = count(num_layers_key, {1, max_layers}),
                    .moe_layers = {},
                    .layer = read_layer(),
                    .names = {}};
  model.moe_layers = read_moe_layers(model.num_layers);
  const TensorLayout& layout = family_.tensors;
  const auto where_there = [](bool there, const char* name) { return there ? name : ""; };
  const bool bias = model.layer.router.has_selection_bias;
  const bool shared = model.layer.has_shared_expert();
  model.names = {layout.router,
                 where_there(bias, layout.selection_bias),
                 layout.gate,
                 layout.up,
                 layout.down,
                 where_there(shared, layout.shared_gate),
                 where_there(shared, layout.shared_up),
                 where_there(shared, layout.shared_down)};
  return model;
}

const char* ConfigReader::num_experts_key() const {
  const auto& keys = family_.num_experts;
  return !has(keys[0]) && has(keys[1]) ? keys[1] : keys[0];
}

/// The value as it stands in the file, cut where it is long.
std::string ConfigReader::describe(const char* key) const {
  return config_.contains(key) ? fmt::format("{:.60}", config_[key].dump()) : "missing";
}

std::string ConfigReader::text(const char* key, const char* otherwise) const {
  if (otherwise != nullptr && !config_.contains(key)) return otherwise;
  if (!config_.contains(key) || !config_[key].is_string()) {
    refuse(where_, "{} must be a string, not {}", key, describe(key));
  }
  return printable(config_[key].get<std::string>());  // it may be quoted, and no known name is another then
}

std::size_t ConfigReader::count(const json& value, const char* key, Range range) const {
  // The parser takes every whole number that is not negative as unsigned.
  const bool in_range = value.is_number_unsigned() && value.get<std::uint64_t>() >= range.low &&
                        value.get<std::uint64_t>() <= range.high;
  if (in_range) return value.get<std::size_t>();
  refuse(where_, "{} must be a whole number from {} to {}, not {:.60}", key, range.low, range.high,
         value.dump());
}

std::size_t ConfigReader::count(const char* key, Range range) const {
  return count(Setting<std::size_t>{key}, range);
}

std::size_t ConfigReader::count(const Setting<std::size_t>& setting, Range range) const {
  const auto& [key, otherwise] = setting;
  if (otherwise && (key == nullptr || !config_.contains(key))) return *otherwise;
  if (config_.contains(key)) return count(config_[key], key, range);
  refuse(where_, "{} must be a whole number from {} to {}, not missing", key, range.low, range.high);
}

bool ConfigReader::flag(const Setting<bool>& setting) const {
  const auto& [key, otherwise] = setting;
  if (otherwise && (key == nullptr || !config_.contains(key))) return *otherwise;
  if (!config_.contains(key) || !config_[key].is_boolean()) {
    refuse(where_, "{} must be true or false, not {}", key, describe(key));
  }
  return config_[key].get<bool>();
}

float ConfigReader::factor(const Setting<double>& setting) const {
  const auto& [key, otherwise] = setting;
  if (otherwise && (key == nullptr || !config_.contains(key))) return static_cast<float>(*otherwise);
  const double value = config_.contains(key) && config_[key].is_number() ? config_[key].get<double>() : 0.0;
  if (!(value > 0.0 && value <= max_scale) || static_cast<float>(value) == 0.0F) {
    refuse(where_, "{} must be a number above 0 and at most {}, not {}", key, max_scale, describe(key));
  }
  return static_cast<float>(value);
}

}  // namespace

bool ModelConfig::is_moe_layer(std::size_t number) const {
  return std::binary_search(moe_layers.begin(), moe_layers.end(), number);
}

ModelConfig parse_model_config(const std::string& text, const std::string& where) {
  const json config = parse_strict_json(text, where);
  if (!config.is_object()) throw InvalidInput(fmt::format("{}: not a JSON object", where));
  return ConfigReader(config, where).read();
}

ModelConfig read_model_config(const std::filesystem::path& config_json) {
  return parse_model_config(read_text(config_json, max_config_bytes), config_json.string());
}

std::string tensor_name(const std::string& pattern, std::size_t layer, ExpertId expert) {
  return fmt::format(fmt::runtime(pattern), fmt::arg("layer", layer), fmt::arg("expert", number(expert)));
}

}  // namespace moewe
