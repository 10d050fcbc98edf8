#include "launch/model_source.hpp"

#include <fmt/format.h>
#include <numeric>

#include "comm/error.hpp"
#include "runtime/checkpoint.hpp"
#include "runtime/generated_weights.hpp"
#include "runtime/presets.hpp"

namespace moewe {
namespace {

class CheckpointModel : public ModelSource {
 public:
  explicit CheckpointModel(const std::filesystem::path& folder) : folder_(folder), checkpoint_(folder) {}

  const ModelConfig& config() const override { return checkpoint_.config(); }
  std::string name() const override { return folder_.string(); }
  void check_layer(std::size_t layer) const override { checkpoint_.check_layer(layer); }
  std::unique_ptr<WeightSource> weights(std::size_t layer) const override {
    return std::make_unique<CheckpointWeights>(checkpoint_, layer);
  }
  std::uint64_t digest() const override { return checkpoint_.digest(); }
  std::vector<std::filesystem::path> files_read() const override { return checkpoint_.files_read(); }

 private:
  std::filesystem::path folder_;
  Checkpoint checkpoint_;
};

class GeneratedModel : public ModelSource {
 public:
  GeneratedModel(ModelConfig config, std::uint64_t seed, std::size_t num_threads)
      : config_(std::move(config)), seed_(seed), num_threads_(num_threads) {}

  const ModelConfig& config() const override { return config_; }
  std::string name() const override { return "--model " + config_.name; }
  void check_layer(std::size_t layer) const override {
    if (config_.is_moe_layer(layer)) return;
    throw InvalidInput(fmt::format("{}: layer {} is no MoE layer; these are {} to {}", name(), layer,
                                   config_.moe_layers.front(), config_.moe_layers.back()));
  }
  std::unique_ptr<WeightSource> weights(std::size_t layer) const override {
    return std::make_unique<GeneratedWeights>(config_.layer, seed_, layer, num_threads_);
  }
  std::uint64_t digest() const override { return 0; }  // all of it follows from options, which are compared

 private:
  ModelConfig config_;
  std::uint64_t seed_;
  std::size_t num_threads_;
};

/// As many layers as are asked for.
ModelConfig custom_model(const LayerSpec& spec, const std::optional<std::vector<std::size_t>>& layers) {
  ModelConfig config;
  config.name = "custom";
  config.num_layers = layers ? layers->back() + 1 : 1;
  config.moe_layers.resize(config.num_layers);
  std::iota(config.moe_layers.begin(), config.moe_layers.end(), std::size_t{0});
  config.layer = spec;
  return config;
}

}  // namespace

std::unique_ptr<ModelSource> open_model(const RunOptions& options, std::size_t num_threads) {
  const ModelChoice& choice = options.model;
  if (choice.checkpoint) return std::make_unique<CheckpointModel>(*choice.checkpoint);
  ModelConfig config =
      choice.custom ? custom_model(*choice.custom, options.layers) : find_preset(choice.preset.value());
  return std::make_unique<GeneratedModel>(std::move(config), options.seed, num_threads);
}

}  // namespace moewe
