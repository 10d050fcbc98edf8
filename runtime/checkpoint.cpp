#include "runtime/checkpoint.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <string>
#include <utility>
#include <xxhash.h>

#include "comm/error.hpp"

namespace moewe {
namespace {

/// One matrix, or one vector, of a layer.
struct LayerTensor {
  std::string name;
  std::vector<std::size_t> shape;
};

LayerTensor router_tensor(const ModelConfig& config, std::size_t layer) {
  return {tensor_name(config.names.router, layer), {config.layer.num_experts, config.layer.expert.hidden}};
}

LayerTensor selection_bias_tensor(const ModelConfig& config, std::size_t layer) {
  return {tensor_name(config.names.selection_bias, layer), {config.layer.num_experts}};
}

/// Names of an expert's three matrices, and what they are as an MLP.
struct MlpTensors {
  LayerTensor gate, up, down;
  bool gated;
};

MlpTensors mlp_tensors(std::array<std::string, 3> names, const ExpertShape& shape) {
  const std::vector<std::size_t> in{shape.intermediate, shape.hidden};
  const std::vector<std::size_t> out{shape.hidden, shape.intermediate};
  return {{std::move(names[0]), in}, {std::move(names[1]), in}, {std::move(names[2]), out}, shape.gated};
}

MlpTensors expert_tensors(const ModelConfig& config, std::size_t layer, ExpertId expert) {
  const auto name = [&](const std::string& pattern) { return tensor_name(pattern, layer, expert); };
  return mlp_tensors({name(config.names.gate), name(config.names.up), name(config.names.down)},
                     config.layer.expert);
}

MlpTensors shared_tensors(const ModelConfig& config, std::size_t layer) {
  const auto name = [&](const std::string& pattern) { return tensor_name(pattern, layer); };
  return mlp_tensors(
      {name(config.names.shared_gate), name(config.names.shared_up), name(config.names.shared_down)},
      config.layer.shared_expert());
}

void check(const TensorFiles& files, const LayerTensor& tensor) {
  files.require(tensor.name, tensor.shape).read_f32(tensor.name, 0, {});  // with no values, only the type
}

void check(const TensorFiles& files, const MlpTensors& mlp) {
  if (mlp.gated) check(files, mlp.gate);
  check(files, mlp.up);
  check(files, mlp.down);
}

void read(const TensorFiles& files, const LayerTensor& tensor, std::span<float> values) {
  const SafetensorsFile& file = files.require(tensor.name, tensor.shape);
  expects(values.size() == file.find(tensor.name)->num_elements(), "weights are read whole");
  file.read_f32(tensor.name, 0, values);
  const auto wrong = std::find_if_not(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
  if (wrong != values.end()) {
    throw InvalidInput(fmt::format("{}: tensor '{}' holds {} as its element {}; weights must be finite",
                                   file.path(), tensor.name, *wrong, wrong - values.begin()));
  }
}

void read(const TensorFiles& files, const MlpTensors& mlp, const ExpertMatrices& matrices) {
  if (mlp.gated) read(files, mlp.gate, matrices.gate);
  read(files, mlp.up, matrices.up);
  read(files, mlp.down, matrices.down);
}

/// Everything in a configuration that results depend on.
std::string describe(const ModelConfig& config) {
  const auto& [expert, num_experts, router, shared_intermediate] = config.layer;
  const TensorNames& names = config.names;
  return fmt::format("{} {} {} | {} {} {} {} | {} {} | {} {} {} {} {} {} {} {:a} | {} {} {} {} {} {} {} {}",
                     config.name, config.num_layers, fmt::join(config.moe_layers, ","), expert.hidden,
                     expert.intermediate, static_cast<int>(expert.activation), expert.gated, num_experts,
                     shared_intermediate, router.top_k, router.renormalise, static_cast<int>(router.score),
                     router.has_selection_bias, router.num_groups, router.kept_groups,
                     static_cast<int>(router.group_score), router.scale, names.router, names.selection_bias,
                     names.gate, names.up, names.down, names.shared_gate, names.shared_up, names.shared_down);
}

}  // namespace

Checkpoint::Checkpoint(const std::filesystem::path& folder)
    : Checkpoint(folder, read_model_config(folder / "config.json")) {}

Checkpoint::Checkpoint(const std::filesystem::path& folder, ModelConfig config)
    : folder_(folder), config_(std::move(config)), tensors_(folder) {}

void Checkpoint::check_layer(std::size_t layer) const {
  if (!config_.is_moe_layer(layer)) {
    throw InvalidInput(fmt::format("{}: layer {} is no MoE layer of the model; these are {}",
                                   folder_.string(), layer, fmt::join(config_.moe_layers, ", ")));
  }
  const std::size_t num_experts = config_.layer.num_experts;
  check(tensors_, router_tensor(config_, layer));
  if (config_.layer.router.has_selection_bias) check(tensors_, selection_bias_tensor(config_, layer));
  for (std::size_t e = 0; e < num_experts; ++e) check(tensors_, expert_tensors(config_, layer, expert_at(e)));
  if (config_.layer.has_shared_expert()) check(tensors_, shared_tensors(config_, layer));
  const MlpTensors surplus = expert_tensors(config_, layer, expert_at(num_experts));
  for (const LayerTensor* tensor : {&surplus.gate, &surplus.up, &surplus.down}) {
    if (const SafetensorsFile* file = tensors_.find(tensor->name)) {
      throw InvalidInput(fmt::format("{}: holds tensor '{}', but the model has {} experts", file->path(),
                                     tensor->name, num_experts));
    }
  }
}

std::uint64_t Checkpoint::digest() const {
  std::string text = describe(config_);
  std::uint64_t digest = XXH3_64bits(text.data(), text.size());
  for (const auto& [name, file] : tensors_.tensors()) {
    const TensorInfo& tensor = *file->find(name);
    text = fmt::format("{} {} {}\n", name, tensor.dtype, describe_shape(tensor.shape));
    digest = XXH3_64bits_withSeed(text.data(), text.size(), digest);
  }
  return digest;
}

std::vector<std::filesystem::path> Checkpoint::files_read() const {
  std::vector<std::filesystem::path> paths = tensors_.paths();
  paths.push_back(folder_ / "config.json");
  return paths;
}

void CheckpointWeights::read_router(std::span<float> weights) const {
  read(checkpoint_.tensors(), router_tensor(checkpoint_.config(), layer_), weights);
}

void CheckpointWeights::read_selection_bias(std::span<float> bias) const {
  read(checkpoint_.tensors(), selection_bias_tensor(checkpoint_.config(), layer_), bias);
}

void CheckpointWeights::read_expert(ExpertId expert, const ExpertMatrices& matrices) const {
  read(checkpoint_.tensors(), expert_tensors(checkpoint_.config(), layer_, expert), matrices);
}

void CheckpointWeights::read_shared_expert(const ExpertMatrices& matrices) const {
  read(checkpoint_.tensors(), shared_tensors(checkpoint_.config(), layer_), matrices);
}

}  // namespace moewe
