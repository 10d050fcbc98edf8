#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "runtime/model_config.hpp"
#include "runtime/tensor_files.hpp"
#include "runtime/weight_source.hpp"

namespace moewe {

/// A folder in Hugging Face's layout: config.json, and the tensors in one file or in shards. Opening it reads
/// headers only; weights are read when they are asked for.
class Checkpoint {
 public:
  /// Throws InvalidInput.
  explicit Checkpoint(const std::filesystem::path& folder);

  /// For a model that is known otherwise: config.json is not read. Throws InvalidInput.
  Checkpoint(const std::filesystem::path& folder, ModelConfig config);

  const ModelConfig& config() const { return config_; }
  const TensorFiles& tensors() const { return tensors_; }

  /// Looks whether all tensors of a layer, also those of experts that live elsewhere, are there with the
  /// right shapes and types, and whether there are no more experts than the configuration says. Reads
  /// headers only. Throws InvalidInput; also when `layer` is no MoE layer of the model.
  void check_layer(std::size_t layer) const;

  /// Equal on two ranks if configurations and tensor headers are, however the tensors lie in files.
  std::uint64_t digest() const;

  /// What must not be overwritten while this is in use.
  std::vector<std::filesystem::path> files_read() const;

 private:
  std::filesystem::path folder_;
  ModelConfig config_;
  TensorFiles tensors_;
};

/// The weights of one of a checkpoint's layers; borrows the checkpoint. All throw InvalidInput when a tensor
/// is missing or has another shape or type, and, naming file, tensor and element, for a value that is not
/// finite. A tensor is read in pieces straight into its place.
class CheckpointWeights : public WeightSource {
 public:
  CheckpointWeights(const Checkpoint& checkpoint, std::size_t layer)
      : checkpoint_(checkpoint), layer_(layer) {}

  void read_router(std::span<float> weights) const override;
  void read_selection_bias(std::span<float> bias) const override;
  void read_expert(ExpertId expert, const ExpertMatrices& matrices) const override;
  void read_shared_expert(const ExpertMatrices& matrices) const override;

 private:
  const Checkpoint& checkpoint_;
  std::size_t layer_;
};

}  // namespace moewe
