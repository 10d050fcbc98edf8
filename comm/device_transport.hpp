#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "comm/backend.hpp"
#include "comm/device.hpp"
#include "comm/message_transport.hpp"

namespace moewe {

/// Carries messages between the ranks' devices: a MessageTransport whose bytes are memory of the device that
/// it was made for. Once a receive is done, every queue and kernel that is enqueued then sees its bytes.
class DeviceTransport : public MessageTransport {
 public:
  /// Of the messages that are posted from now on no byte is read or written before `event`, as it was
  /// recorded last by now, is passed. What leads to the event must not wait for a message that was posted
  /// before.
  virtual void wait_for(const Event& event) = 0;
};

/// How device memory gets into messages.
enum class DeviceCarriage {
  automatic,  ///< directly where every rank's carrier can, else staged
  direct,     ///< by the carrier itself
  staged,     ///< through pinned chunks on the host, while others are on their way
};

struct DeviceTransportOptions {
  DeviceCarriage carriage = DeviceCarriage::automatic;

  // Of staged messages; the same on every rank. Chunks are counted for each direction.
  std::size_t chunk_bytes = std::size_t{512} << 10U;
  std::size_t num_chunks = 4;
};

/// The same on every rank, but for the transport.
struct DeviceTransportChoice {
  std::unique_ptr<DeviceTransport> transport;
  DeviceCarriage carriage;  ///< never automatic
  std::string reason;
};

/// Collective, also the transport's destruction. Messages between the ranks' devices over the backend's
/// carrier; each rank has a device, all of one kind. Communicator, device and meter outlive the transport,
/// which moves its messages along in every wait of the communicator. Throws a shared InvalidInput where
/// `direct` is asked for and some rank's carrier cannot, and a shared Error(out_of_memory).
DeviceTransportChoice make_device_transport(Communicator& communicator, const Backend& backend,
                                            Device& device, MemoryMeter& meter,
                                            const DeviceTransportOptions& options);

/// "directly" or "staged through pinned chunks", for people.
std::string describe(DeviceCarriage carriage);

}  // namespace moewe
