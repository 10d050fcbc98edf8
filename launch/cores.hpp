#pragma once

#include <cstddef>
#include <optional>

#include "comm/communicator.hpp"

namespace moewe {

/// Threads of a rank at most.
inline constexpr std::size_t max_threads = 1024;

/// Local. Threads of this rank: as many as `asked_for`, else OMP_NUM_THREADS, else as many as it has cores.
/// Throws InvalidInput for a variable that is no such number.
std::size_t threads_of_rank(const Communicator& communicator, std::optional<std::size_t> asked_for);

/// Local. Cores that this rank may use: what the node has, shared evenly among its ranks, and never more than
/// the process is bound to. At least 1.
std::size_t cores_of_rank(const Communicator& communicator);

/// Of the job, on this rank's node.
std::size_t ranks_on_node(const Communicator& communicator);

}  // namespace moewe
