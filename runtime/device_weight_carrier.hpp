#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <list>
#include <memory>

#include "comm/device_transport.hpp"

namespace moewe {

/// Carries experts' weights from device to device, beside the steps and apart from their messages: on a
/// communicator of its own. One for the layers of a lane, of which one at a time has the turn to migrate.
class DeviceWeightCarrier {
 public:
  /// Collective, also its destruction. All of it outlives the carrier. Throws a shared Error.
  DeviceWeightCarrier(Communicator& communicator, const Backend& backend, Device& device, MemoryMeter& meter,
                      const DeviceTransportOptions& options = {});
  ~DeviceWeightCarrier();
  DeviceWeightCarrier(const DeviceWeightCarrier&) = delete;
  DeviceWeightCarrier& operator=(const DeviceWeightCarrier&) = delete;

  DeviceTransport& transport() { return *transport_; }
  DeviceCarriage carriage() const { return carriage_; }

  /// The right to migrate, for as long as it is kept.
  struct Turn {
    Tag tag;                         ///< of its messages: what is left of one that was cancelled has another
    std::function<void()> progress;  ///< called once in every step of the lane
  };

  /// All ranks take turns in the same order. Throws InvalidInput, as require_free does, while somebody has
  /// it.
  std::shared_ptr<const Turn> take_turn(std::function<void()> progress);
  void require_free() const;

  /// Takes over what a migration that has ended still sends, with the memory that it is sent from: kept until
  /// the messages are done or the transport has ended.
  void keep_until_sent(std::deque<Request> sends, std::shared_ptr<const void> memory);

  /// Once a step, when its rows are on their way: lets the layer whose turn it is move on.
  void progress();

 private:
  struct Leftover {
    std::deque<Request> sends;
    std::shared_ptr<const void> memory;
  };

  std::unique_ptr<Communicator> communicator_;
  std::unique_ptr<DeviceTransport> transport_;
  DeviceCarriage carriage_;
  int num_turns_ = 0;
  std::weak_ptr<const Turn> turn_;
  std::list<Leftover> leftovers_;
};

}  // namespace moewe
