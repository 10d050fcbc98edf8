#pragma once

#include <memory>

#include "comm/communicator.hpp"
#include "comm/message_transport.hpp"

namespace moewe {

/// Collective. Messages between threads of one process: one copy, made by whoever comes second.
std::unique_ptr<MessageTransport> make_loopback_transport(Communicator& communicator);

}  // namespace moewe
