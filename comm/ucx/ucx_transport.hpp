#pragma once

#include <memory>
#include <string>

#include "comm/backend.hpp"
#include "comm/communicator.hpp"
#include "comm/message_transport.hpp"

namespace moewe {

/// Why this build cannot carry messages over UCX; empty if it can. The same for all ranks of one program.
std::string reason_for_no_ucx();

/// Version of the UCX library; empty where it is not compiled in.
std::string ucx_version();

/// Collective, also its destruction: no rank takes its end of a connection down before all have what was sent
/// to them, or `communicator`'s timeout has passed. `communicator`, of whatever kind, outlives the transport
/// and connects the ranks, which must be processes.
///
/// Throws a shared InvalidInput that says why where UCX is not compiled in, or cannot be started or reach
/// some rank with the settings of the environment (UCX_TLS, UCX_NET_DEVICES ...). UCX itself says nothing
/// unless UCX_LOG_LEVEL is set.
std::unique_ptr<MessageTransport> make_ucx_transport(Communicator& communicator);

/// The same for messages whose bytes are memory of GPUs. Only where there is no reason against it.
std::unique_ptr<MessageTransport> make_ucx_gpu_transport(Communicator& communicator);

/// Why the UCX that runs cannot carry memory of GPUs; empty if it can. Local; takes milliseconds.
std::string reason_for_no_gpu_memory_of_ucx();

/// UCX takes SIGHUP and the signals of crashes when it is loaded, that is before main. Gives them back to
/// whom they belonged before, unless UCX_HANDLE_ERRORS, UCX_ERROR_SIGNALS or UCX_DEBUG_SIGNO is set. To be
/// called before anything else handles signals, and of use also where no message goes over UCX.
void release_signals_of_ucx();

/// The same backend with messages over UCX.
inline Backend over_ucx(Backend backend) {
  backend.carrier = "ucx";
  backend.make_transport = make_ucx_transport;
  backend.make_gpu_transport = make_ucx_gpu_transport;
  backend.reason_for_no_gpu_memory = reason_for_no_gpu_memory_of_ucx;
  return backend;
}

}  // namespace moewe
