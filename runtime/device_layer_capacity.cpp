#include <algorithm>

#include "runtime/device_layer.hpp"

// What a capacity leaves of a step's assignments: what ranks decide is the same as of layers on cores, of
// routings that are in host memory.

namespace moewe {

/// Before the ranks agree: a rank without memory is told of there.
void DeviceLayer::make_room_to_decide(const Tokens& tokens) {
  const std::size_t top_k = spec_.router.top_k;
  MemoryPlan memory;
  account_->decided.plan_memory(tokens.count, top_k, 0, memory);
  account_->add_planned(memory);
  account_->decided.resize(tokens.count, top_k, 0);
}

void DeviceLayer::bound(std::size_t num_tokens_of_all) {
  const std::size_t capacity = expert_capacity(options_.capacity->rule, options_.capacity->factor,
                                               num_tokens_of_all, spec_.router.top_k, spec_.num_experts);
  report_.overflow = resolve_overflow(engine_.communicator(), *options_.capacity, capacity,
                                      report_.assignments_per_expert, routing_, account_->decided);
  has_changed_ = !std::ranges::equal(routing_.experts, account_->decided.experts());
  routing_ = account_->decided.view();
}

/// Where this rank's tokens lost nothing, the device has their choices already.
void DeviceLayer::put_decided() {
  if (!has_changed_) return;
  const DeviceStepMemory& memory = lane_.memory();
  lane_.queue().copy(memory.experts, routing_.experts.data(), routing_.experts.size_bytes());
  lane_.queue().copy(memory.weights, routing_.weights.data(), routing_.weights.size_bytes());
}

}  // namespace moewe
