#include "runtime/checkpoint.hpp"

#include <array>
#include <fmt/format.h>
#include <xxhash.h>

#include "comm/error.hpp"

namespace moewe {
namespace {

std::filesystem::path weights_file(const std::filesystem::path& folder) {
  const auto single = folder / "model.safetensors";
  std::error_code unknown;  // what cannot even be looked at is refused, with its reason, when it is opened
  if (!std::filesystem::exists(single, unknown) &&
      std::filesystem::exists(folder / "model.safetensors.index.json", unknown)) {
    throw InvalidInput(
        fmt::format("{}: checkpoints in several files are not read yet; model.safetensors must hold all",
                    folder.string()));
  }
  return single;
}

void read_matrix(const SafetensorsFile& file, const std::string& name, std::array<std::size_t, 2> shape,
                 std::span<float> values) {
  read_f32(file.require(name, shape), name, 0, values);
}

}  // namespace

Checkpoint::Checkpoint(const std::filesystem::path& folder)
    : folder_(folder), config_(read_model_config(folder / "config.json")), tensors_(weights_file(folder)) {}

std::uint64_t Checkpoint::digest() const {
  const LayerSpec& layer = config_.layer;
  std::string text =
      fmt::format("{} {} {} {} {} {} {}\n", config_.family, config_.num_layers, layer.expert.hidden,
                  layer.expert.intermediate, layer.num_experts, layer.router.top_k, layer.router.renormalise);
  for (const auto& [name, tensor] : tensors_.tensors()) {
    text += fmt::format("{} {} {}\n", name, tensor.dtype, describe_shape(tensor.shape));
  }
  return XXH3_64bits(text.data(), text.size());
}

void Checkpoint::check_layer(std::size_t layer) const {
  const auto [hidden, intermediate] = config_.layer.expert;
  const TensorNames& names = config_.names;
  const auto check = [&](const std::string& name, std::array<std::size_t, 2> shape) {
    read_f32(tensors_.require(name, shape), tensors_.path() + ": " + name, 0, {});
  };
  check(tensor_name(names.router, layer), {config_.layer.num_experts, hidden});
  for (std::size_t e = 0; e < config_.layer.num_experts; ++e) {
    check(tensor_name(names.gate, layer, expert_at(e)), {intermediate, hidden});
    check(tensor_name(names.up, layer, expert_at(e)), {intermediate, hidden});
    check(tensor_name(names.down, layer, expert_at(e)), {hidden, intermediate});
  }
}

void CheckpointWeights::read_router(std::span<float> weights) const {
  const ModelConfig& config = checkpoint_.config();
  read_matrix(checkpoint_.tensors(), tensor_name(config.names.router, layer_),
              {config.layer.num_experts, config.layer.expert.hidden}, weights);
}

void CheckpointWeights::read_expert(ExpertId expert, const ExpertMatrices& matrices) const {
  const ModelConfig& config = checkpoint_.config();
  const auto [hidden, intermediate] = config.layer.expert;
  const auto read = [&](const std::string& pattern, std::array<std::size_t, 2> shape,
                        std::span<float> values) {
    read_matrix(checkpoint_.tensors(), tensor_name(pattern, layer_, expert), shape, values);
  };
  read(config.names.gate, {intermediate, hidden}, matrices.gate);
  read(config.names.up, {intermediate, hidden}, matrices.up);
  read(config.names.down, {hidden, intermediate}, matrices.down);
}

}  // namespace moewe
