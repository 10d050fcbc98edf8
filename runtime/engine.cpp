#include "runtime/engine.hpp"

#include <algorithm>
#include <fmt/format.h>

#include "comm/error.hpp"

namespace moewe {

Engine::Engine(Communicator& communicator, const Backend& backend, const EngineOptions& options)
    : options_(options),
      carrier_(backend.carrier),
      carrier_reason_(backend.carrier_reason),
      communicator_(communicator.child()),
      workspace_(meter_, std::max<std::size_t>(1, options.threads)) {
  for (std::size_t i = 0; i < std::max<std::size_t>(1, options.lanes); ++i) {
    lanes_.push_back(std::make_unique<Lane>(*communicator_, backend, meter_, options.exchange));
    initial_lane_bytes_ += lanes_.back()->memory().bytes();
  }
}

MemoryPlan Engine::planned_memory() const {
  MemoryPlan all;
  for (const auto& lane : lanes_) {
    for (const auto& [name, bytes] : lane->planned().by_name()) all.add(name, bytes);
  }
  return all;
}

std::size_t Engine::planned_bytes() const {
  std::size_t sum = 0;
  for (const auto& lane : lanes_) sum += lane->planned_bytes();
  return sum;
}

void Engine::add_layer(std::size_t num_experts) {
  max_experts_ = std::max(max_experts_, num_experts);
  ++num_layers_;
}

Lane& Engine::begin_step(std::size_t layer) {
  position_ = {position_.step + 1, layer, Phase::route};
  const auto idle =
      std::find_if(lanes_.begin(), lanes_.end(), [](const auto& lane) { return !lane->is_busy; });
  if (idle == lanes_.end()) {
    throw InvalidInput(
        fmt::format("{} steps are in flight already; finish one first, or construct the engine "
                    "with more lanes",
                    lanes_.size()));
  }
  return **idle;
}

std::size_t Engine::lane_budget() const {
  std::size_t in_lanes = 0;
  for (const auto& lane : lanes_) in_lanes += lane->memory().bytes();
  const std::size_t beside = meter_.bytes() - in_lanes;
  return options_.memory_limit > beside ? (options_.memory_limit - beside) / lanes_.size() : 0;
}

}  // namespace moewe
