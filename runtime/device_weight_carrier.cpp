#include "runtime/device_weight_carrier.hpp"

#include <utility>

#include "comm/error.hpp"

namespace moewe {

DeviceWeightCarrier::DeviceWeightCarrier(Communicator& communicator, const Backend& backend, Device& device,
                                         MemoryMeter& meter, const DeviceTransportOptions& options)
    : communicator_(communicator.child()) {
  DeviceTransportChoice choice = make_device_transport(*communicator_, backend, device, meter, options);
  transport_ = std::move(choice.transport);
  carriage_ = choice.carriage;
}

/// Memory may still be read until the transport has ended.
DeviceWeightCarrier::~DeviceWeightCarrier() {
  for (Leftover& leftover : leftovers_) leftover.sends.clear();
  transport_.reset();
}

std::shared_ptr<const DeviceWeightCarrier::Turn> DeviceWeightCarrier::take_turn(
    std::function<void()> progress) {
  require_free();
  num_turns_ = (num_turns_ + 1) % max_tag;
  auto turn = std::make_shared<const Turn>(Turn{static_cast<Tag>(num_turns_), std::move(progress)});
  turn_ = turn;
  return turn;
}

void DeviceWeightCarrier::require_free() const {
  if (!turn_.expired())
    throw InvalidInput("experts of a layer of this engine are migrating already; one layer at a time does");
}

void DeviceWeightCarrier::keep_until_sent(std::deque<Request> sends, std::shared_ptr<const void> memory) {
  if (!sends.empty()) leftovers_.push_back({std::move(sends), std::move(memory)});
}

void DeviceWeightCarrier::progress() {
  leftovers_.remove_if([](Leftover& leftover) {
    std::erase_if(leftover.sends, [](Request& send) { return send.is_done(); });
    return leftover.sends.empty();
  });
  if (const auto turn = turn_.lock()) turn->progress();
}

}  // namespace moewe
