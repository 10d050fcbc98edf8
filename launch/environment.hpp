#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>

#include "comm/backend.hpp"
#include "comm/error.hpp"

namespace moewe {

/// Prints an error and ends all MPI processes of the job at once, while what they have in flight still
/// exists. Returns where ranks are threads: these learn of it from one another.
void end_mpi_job(ErrorKind kind, const std::string& what);

/// Runs `work` on every rank: as the MPI process that this is if a launcher started it, else on
/// `thread_ranks` threads, or one. Prints errors: a shared one once, a local one from its rank. After a local
/// one the whole job ends, without waiting for the other ranks. Returns the process's exit code.
int run_job(std::optional<std::size_t> thread_ranks, double timeout_s,
            const std::function<void(Communicator&, const Backend&)>& work);

}  // namespace moewe
