#include "runtime/checkpoint.hpp"

#include <array>
#include <fmt/format.h>
#include <xxhash.h>

#include "comm/error.hpp"

namespace moewe {
namespace {

std::filesystem::path weights_file(const std::filesystem::path& folder) {
  const auto single = folder / "model.safetensors";
  if (!std::filesystem::exists(single) && std::filesystem::exists(folder / "model.safetensors.index.json")) {
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
