#pragma once

#include <chrono>
#include <cstddef>
#include <functional>

#include "comm/backend.hpp"

namespace moewe {

/// Runs `work` on `num_ranks` threads, each a rank of one communicator, and returns when all have ended. When
/// a rank throws, the others' waits throw Error(peer_failed), and the first rank's exception is thrown again
/// here.
void run_ranks(std::size_t num_ranks, std::chrono::duration<double> timeout,
               const std::function<void(Communicator&)>& work);

/// The same for the topology's ranks, as if they were on its nodes: ranks of different nodes have no peer
/// memory of one another.
void run_ranks(const Topology& topology, std::chrono::duration<double> timeout,
               const std::function<void(Communicator&)>& work);

/// How ranks that are threads of one process reach one another.
Backend loopback_backend();

}  // namespace moewe
