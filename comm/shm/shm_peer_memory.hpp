#pragma once

#include "comm/backend.hpp"

namespace moewe {

/// Collective. Peer memory between processes of one node: a memfd per rank that the others open through
/// /proc, or, where that is refused, a POSIX shared-memory file whose name is unlinked once all have mapped
/// it. Ranks of different nodes do not reach one another. If any rank cannot have either, none gets peer
/// memory, and the offer says why.
PeerMemoryOffer make_shm_peer_memory(Communicator& communicator, MemoryMeter& meter, std::size_t num_flags);

/// How ranks find one another's segments.
enum class ShmWay {
  memfd,  ///< through /proc/PID/fd; leaves nothing behind, not limited by /dev/shm
  named,  ///< a POSIX shared-memory file whose name is unlinked once all have opened it
};

/// Collective. The same by one way only.
PeerMemoryOffer make_shm_peer_memory_by(ShmWay way, Communicator& communicator, MemoryMeter& meter,
                                        std::size_t num_flags);

}  // namespace moewe
