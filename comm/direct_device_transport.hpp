#pragma once

#include <memory>

#include "comm/device_transport.hpp"

namespace moewe {

/// Local. Device messages over a carrier that reads and writes the device's memory itself. What is to wait
/// for an event is posted once the host sees it passed.
std::unique_ptr<DeviceTransport> make_direct_device_transport(const Waiter& waiter, Device& device,
                                                              std::unique_ptr<MessageTransport> carrier);

}  // namespace moewe
