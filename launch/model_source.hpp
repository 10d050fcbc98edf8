#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "launch/options.hpp"
#include "runtime/model_config.hpp"
#include "runtime/weight_source.hpp"

namespace moewe {

/// The model that is run, and where its weights come from.
class ModelSource {
 public:
  virtual ~ModelSource() = default;

  virtual const ModelConfig& config() const = 0;

  /// For messages: "launch/sample", "--model qwen3-30b-a3b".
  virtual std::string name() const = 0;

  /// Throws InvalidInput unless the layer is there, with all its tensors. Reads no weights.
  virtual void check_layer(std::size_t layer) const = 0;

  /// Of a layer that is there. Borrows this source.
  virtual std::unique_ptr<WeightSource> weights(std::size_t layer) const = 0;

  /// Equal on two ranks that have the same model.
  virtual std::uint64_t digest() const = 0;

  /// What must not be overwritten.
  virtual std::vector<std::filesystem::path> files_read() const { return {}; }
};

/// Local. Opens the checkpoint, or makes the model up. `num_threads` are for generated weights. Throws
/// InvalidInput.
std::unique_ptr<ModelSource> open_model(const RunOptions& options, std::size_t num_threads);

}  // namespace moewe
