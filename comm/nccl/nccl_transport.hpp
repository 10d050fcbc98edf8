#pragma once

#include <memory>
#include <string>

#include "comm/device_transport.hpp"

namespace moewe {

/// Why NCCL cannot be used here: not compiled in, or it cannot be loaded; empty if it can. Local.
std::string reason_for_no_nccl();

/// Of the NCCL that is loaded, such as "2.28.9"; empty where there is none.
std::string nccl_version();

/// Collective, also its destruction. Messages between GPUs over NCCL, in groups (DeviceTransport::flush),
/// with the backend's messages to agree on them. The device is a GPU, and no other rank's. Throws a shared
/// InvalidInput that says why where some rank cannot use NCCL.
std::unique_ptr<DeviceTransport> make_nccl_transport(Communicator& communicator, const Backend& backend,
                                                     Device& device);

}  // namespace moewe
