#pragma once

#include "comm/backend.hpp"

namespace moewe {

/// Collective. Peer memory between threads of one process: the segments are where they are. Ranks of
/// different nodes do not reach one another.
PeerMemoryOffer make_loopback_peer_memory(Communicator& communicator, MemoryMeter& meter,
                                          std::size_t num_flags);

}  // namespace moewe
