#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "comm/communicator.hpp"
#include "comm/memory_meter.hpp"
#include "comm/message_transport.hpp"
#include "comm/peer_memory.hpp"

namespace moewe {

/// Peer memory, or the reason why there is none. The same on every rank.
struct PeerMemoryOffer {
  std::unique_ptr<PeerMemory> memory;
  std::string reason_for_none;
};

/// Under which an engine's communicator counts its memory.
inline constexpr std::string_view communicator_name = "small collectives";

/// How the ranks of a communicator reach one another. All functions are collective, and what they make must
/// not outlive the communicator and the meter it was made with.
struct Backend {
  /// Name of what carries messages: "mpi" or "ucx", or "loopback" between the threads of one process.
  std::string carrier;
  std::function<std::unique_ptr<MessageTransport>(Communicator&)> make_transport;
  std::function<PeerMemoryOffer(Communicator&, MemoryMeter&, std::size_t num_flags)> make_peer_memory;

  /// A child of `parent` for the small collectives of every step, as quick as it can be made. What it takes
  /// is counted in the meter under communicator_name, and is all there from the start.
  std::function<std::unique_ptr<Communicator>(Communicator& parent, MemoryMeter&)> make_engine_communicator =
      [](Communicator& parent, MemoryMeter&) { return parent.child(); };

  /// Why it is that carrier.
  std::string carrier_reason{};

  /// Why messages of this carrier cannot be memory of GPUs, asked of the library that runs; empty where they
  /// can. Local, and may differ between ranks.
  std::function<std::string()> reason_for_no_gpu_memory = [] { return "the carrier knows no GPU"; };

  /// For messages that are memory of GPUs; where empty, make_transport serves them too.
  std::function<std::unique_ptr<MessageTransport>(Communicator&)> make_gpu_transport{};
};

}  // namespace moewe
