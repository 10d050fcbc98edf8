#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>

#include "comm/backend.hpp"
#include "comm/error.hpp"

namespace moewe {

/// Exit codes of the program.
enum class ExitCode {
  done = 0,
  failed = 1,
  bad_input = 2,
  watchdog = 3,
  terminated = 143  ///< by SIGTERM, after a step: as shells say it of a process that ends at once
};

ExitCode exit_code_for(ErrorKind kind);

/// Whether mpirun or srun started this process as one of a job's ranks.
bool started_by_launcher();

/// Whether this is the launcher's rank 0, or no launcher's. Known before MPI is.
bool is_first_process();

/// Writes to standard output, all of it. Throws InvalidInput where that cannot be.
void print_text(const std::string& text);

/// Whether a person watches what this process prints. Looks past the terminal that mpirun puts between its
/// ranks and its own output.
bool is_watched();

/// Threads of a rank at most.
inline constexpr std::size_t max_threads = 1024;

/// For each of a node's ranks: OMP_NUM_THREADS if set, else as many as it has cores. Throws InvalidInput for
/// a variable that is no such number.
std::size_t default_threads(std::size_t ranks_on_node);

/// Cores for each of a node's ranks: what the node has, shared evenly, and never more than the process is
/// bound to. At least 1.
std::size_t cores_of_rank(std::size_t ranks_on_node);

/// Prints an error and ends all MPI processes of the job at once, while what they have in flight still
/// exists. Returns where ranks are threads: these learn of it from one another.
void end_mpi_job(ErrorKind kind, const std::string& what);

/// Runs `work` on every rank: as the MPI process that this is if a launcher started it, else on
/// `thread_ranks` threads, or one. Prints errors: a shared one once, a local one from its rank. After a local
/// one the whole job ends, without waiting for the other ranks. Returns the process's exit code.
int run_job(std::optional<std::size_t> thread_ranks, double timeout_s,
            const std::function<void(Communicator&, const Backend&)>& work);

}  // namespace moewe
