#pragma once

#include <chrono>
#include <cstddef>
#include <functional>

#include "comm/backend.hpp"
#include "comm/communicator.hpp"

namespace moewe::bench {

/// How long a benchmark waits for another rank.
inline constexpr std::chrono::seconds patience{120};

/// Runs `work` as one rank of MPI's, from its start to its end, and returns the exit code. Ranks cannot wait
/// for one that failed: it says what happened, the first rank alone if that is the same on all, and all end.
int run_mpi_rank(const char* program, bool same_on_all_ranks, const std::function<void(Communicator&)>& work);

/// Runs `work` as one rank of MPI's where a launcher started the process; else as `num_ranks` threads of it,
/// each pinned to as many cores of its own as it has threads.
void run_pinned_ranks(const char* program, std::size_t num_ranks, std::size_t threads_of_rank,
                      const std::function<void(Communicator&, const Backend&)>& work);

}  // namespace moewe::bench
