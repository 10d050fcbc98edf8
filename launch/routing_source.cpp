#include "launch/routing_source.hpp"

#include <fmt/format.h>

#include "comm/error.hpp"
#include "launch/trace.hpp"

namespace moewe {
namespace {

class ForcedSource : public RoutingSource {
 public:
  ForcedSource(const ForcedRoutingSpec& spec, std::uint64_t seed, const LayerSpec& layer)
      : routing_(spec, seed, layer.num_experts, layer.router.top_k) {}

  void read(std::size_t layer, std::size_t step, std::size_t /*num_tokens*/, TokenRange range,
            std::span<ExpertId> ids, std::span<float> weights) const override {
    routing_.read(layer, step, range, ids, weights);
  }

 private:
  ForcedRouting routing_;
};

class TraceSource : public RoutingSource {
 public:
  TraceSource(const std::filesystem::path& path, const ModelConfig& model)
      : model_(model), trace_(path, model.layer.num_experts) {
    if (trace_.top_k() == model.layer.router.top_k) return;
    throw InvalidInput(fmt::format("{}: has {} experts for each token, but the model chooses {}",
                                   trace_.path(), trace_.top_k(), model.layer.router.top_k));
  }

  void check_layer(std::size_t layer) const { trace_.check_layer(trace_layer(layer)); }

  void read(std::size_t layer, std::size_t step, std::size_t num_tokens, TokenRange range,
            std::span<ExpertId> ids, std::span<float> weights) const override {
    trace_.read({trace_layer(layer), step, num_tokens}, range, ids, weights);
  }

  std::optional<std::size_t> tokens_per_step() const override { return trace_.tokens_per_step(); }
  std::vector<std::filesystem::path> files_read() const override { return {trace_.path()}; }

 private:
  std::size_t trace_layer(std::size_t layer) const {
    const auto found = trace_layer_for(trace_.num_layers(), model_.num_layers, model_.moe_layers, layer);
    if (found) return *found;
    throw InvalidInput(
        fmt::format("{}: number of layers is {}, but the model has {}, {} of them with experts",
                    trace_.path(), trace_.num_layers(), model_.num_layers, model_.moe_layers.size()));
  }

  const ModelConfig& model_;
  Trace trace_;
};

}  // namespace

std::unique_ptr<RoutingSource> open_routing(const RunOptions& options, const ModelConfig& model,
                                            const std::vector<std::size_t>& layers) {
  if (options.routing.forced) {
    return std::make_unique<ForcedSource>(*options.routing.forced, options.seed, model.layer);
  }
  if (!options.routing.trace) return nullptr;
  auto trace = std::make_unique<TraceSource>(*options.routing.trace, model);
  for (const std::size_t layer : layers) trace->check_layer(layer);
  return trace;
}

}  // namespace moewe
