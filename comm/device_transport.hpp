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

  /// Non-blocking. Ends a group: the messages posted since the last call. Some carriers start messages by
  /// whole groups, once they are ended; who wants to use them sees to it that a receive names its source and
  /// is as long as its message, that both ends of a message are in groups of the same number, counted by the
  /// calls on each rank, and that every message is in a group that has been ended before it is waited for. To
  /// the others it makes no difference.
  virtual void flush() {}
};

/// How device memory gets into messages.
enum class DeviceCarriage {
  automatic,  ///< directly where every rank's carrier can, else staged
  direct,     ///< by the carrier itself
  staged,     ///< through pinned chunks on the host, while others are on their way
  nccl,       ///< by NCCL, in groups: see DeviceTransport::flush
};

struct DeviceTransportOptions {
  DeviceCarriage carriage = DeviceCarriage::automatic;

  // Of staged messages; the same on every rank. Chunks are counted for each direction.
  std::size_t chunk_bytes = std::size_t{512} << 10U;
  std::size_t num_chunks = 4;
};

/// The same on every rank.
struct DeviceCarriageChoice {
  DeviceCarriage carriage;  ///< never automatic
  std::string reason;
};

/// Collective. How a transport with these options would carry messages; makes nothing. Throws a shared
/// InvalidInput where `direct` is asked for and some rank cannot.
DeviceCarriageChoice choose_device_carriage(Communicator& communicator, const Backend& backend,
                                            const Device& device, const DeviceTransportOptions& options);

/// Pinned bytes that a transport takes, under PinnedPool::meter_name.
std::size_t staging_bytes(DeviceCarriage carriage, const DeviceTransportOptions& options);

/// The same on every rank, but for the transport.
struct DeviceTransportChoice {
  std::unique_ptr<DeviceTransport> transport;
  DeviceCarriage carriage;  ///< never automatic
  std::string reason;
};

/// Collective, also the transport's destruction. Messages between the ranks' devices over the backend's
/// carrier; each rank has a device, all of one kind. Communicator, device and meter outlive the transport,
/// which moves its messages along in every wait of the communicator; where the carrier does so directly, the
/// device becomes the calling thread's current one. Throws a shared InvalidInput where `direct` or `nccl` is
/// asked for and some rank cannot, and a shared Error(out_of_memory).
DeviceTransportChoice make_device_transport(Communicator& communicator, const Backend& backend,
                                            Device& device, MemoryMeter& meter,
                                            const DeviceTransportOptions& options);

/// "directly", "staged through pinned chunks" or "by NCCL", for people.
std::string describe(DeviceCarriage carriage);

}  // namespace moewe
