#pragma once

#include <memory>

#include "comm/communicator.hpp"
#include "comm/message_transport.hpp"

namespace moewe {

/// Collective. Messages over MPI point-to-point, on a communicator of their own. `communicator` is an MPI
/// one. A message has at most 2^31 - 1 bytes.
std::unique_ptr<MessageTransport> make_mpi_transport(Communicator& communicator);

}  // namespace moewe
