#pragma once

#include <memory>

#include "comm/device_transport.hpp"

namespace moewe {

/// Collective. Device messages over a carrier that knows the host's memory alone: staged through pinned
/// chunks, of which several are copied and on their way at a time in each direction. What a message needs
/// beside its chunks are a head and, per chunk, a grant (staged_message.hpp).
std::unique_ptr<DeviceTransport> make_staged_transport(Communicator& communicator, const Backend& backend,
                                                       Device& device, MemoryMeter& meter,
                                                       const DeviceTransportOptions& options);

}  // namespace moewe
