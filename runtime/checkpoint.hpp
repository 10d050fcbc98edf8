#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>

#include "runtime/model_config.hpp"
#include "runtime/safetensors.hpp"
#include "runtime/weight_source.hpp"

namespace moewe {

/// A folder with config.json and model.safetensors in Hugging Face's layout. Weights are read from the mapped
/// file when they are asked for; bytes of tensors that nobody asks for are never touched.
class Checkpoint {
 public:
  /// Throws InvalidInput.
  explicit Checkpoint(const std::filesystem::path& folder);

  const ModelConfig& config() const { return config_; }
  const SafetensorsFile& tensors() const { return tensors_; }

  /// Looks whether all tensors of a layer, also those of experts that live elsewhere, are in the headers with
  /// the right shapes and types. Reads none of them. Throws InvalidInput.
  void check_layer(std::size_t layer) const;

  /// Equal on two ranks if configuration and tensor headers are.
  std::uint64_t digest() const;

 private:
  std::filesystem::path folder_;
  ModelConfig config_;
  SafetensorsFile tensors_;
};

/// The weights of one of a checkpoint's layers. Borrows the checkpoint.
class CheckpointWeights : public WeightSource {
 public:
  CheckpointWeights(const Checkpoint& checkpoint, std::size_t layer)
      : checkpoint_(checkpoint), layer_(layer) {}

  void read_router(std::span<float> weights) const override;
  void read_expert(ExpertId expert, const ExpertMatrices& matrices) const override;

 private:
  const Checkpoint& checkpoint_;
  std::size_t layer_;
};

}  // namespace moewe
