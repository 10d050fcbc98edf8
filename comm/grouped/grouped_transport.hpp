#pragma once

#include <memory>

#include "comm/communicator.hpp"
#include "comm/device_transport.hpp"
#include "comm/grouped/group_carrier.hpp"

namespace moewe {

/// Device messages over a carrier of whole groups, under the rules of DeviceTransport::flush, which are
/// checked: before a group is started, every two ranks tell each other over `host` what they exchange in it.
/// So a rank that comes late holds up no device of those it exchanges with, and one-sided messages are an
/// error that names both ends' numbers instead of a wait without end. What a group lacks shows in the ranks'
/// waits, as one that never is done. Groups in which all ranks exchange with one another hold up no device
/// at all; in others a device may wait for one whose rank still waits for a third, and until then what waits
/// for the device, as freeing its memory does, must not be what the third waits for.
///
/// What has been posted stays posted: its bytes are valid until it is done or the transport has ended, even
/// if its request is let go. Whatever fails, and an end while messages are under way, aborts the carrier.
std::unique_ptr<DeviceTransport> make_grouped_transport(Communicator& communicator, Device& device,
                                                        std::unique_ptr<GroupCarrier> carrier,
                                                        std::unique_ptr<MessageTransport> host);

}  // namespace moewe
