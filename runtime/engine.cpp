#include "runtime/engine.hpp"

#include <algorithm>
#include <omp.h>

namespace moewe {

Engine::Engine(Communicator& communicator, const Backend& backend, const EngineOptions& options)
    : verify_(options.verify), carrier_(backend.carrier), communicator_(communicator.child()) {
  if (options.threads > 0) omp_set_num_threads(options.threads);
  lane_ = std::make_unique<Lane>(*communicator_, backend, meter_, options.exchange);
}

std::size_t Engine::add_layer(std::size_t num_experts) {
  max_experts_ = std::max(max_experts_, num_experts);
  return num_layers_++;
}

StepPosition& Engine::begin_step(std::size_t layer) {
  position_ = {position_.step + 1, layer, Phase::route};
  return position_;
}

}  // namespace moewe
