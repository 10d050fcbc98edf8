#include "runtime/engine.hpp"

#include <algorithm>
namespace moewe {

Engine::Engine(Communicator& communicator, const Backend& backend, const EngineOptions& options)
    : verify_(options.verify),
      carrier_(backend.carrier),
      communicator_(communicator.child()),
      lane_(std::make_unique<Lane>(*communicator_, backend, meter_, options.exchange)) {
  lane_->workspace.num_threads = std::max<std::size_t>(1, options.threads);
}

void Engine::add_layer(std::size_t num_experts) {
  max_experts_ = std::max(max_experts_, num_experts);
  ++num_layers_;
}

StepPosition& Engine::begin_step(std::size_t layer) {
  position_ = {position_.step + 1, layer, Phase::route};
  return position_;
}

}  // namespace moewe
