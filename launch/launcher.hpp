#pragma once

#include <cstdint>
#include <optional>

namespace moewe {

// What mpirun or srun tells a process through its environment, known before MPI starts.

/// This process's number among the ranks of the launcher's job; none where no launcher started it. A variable
/// that is no number counts as none.
std::optional<std::uint64_t> find_launcher_rank();

/// Whether mpirun or srun started this process as one of a job's ranks.
bool started_by_launcher();

/// Whether this is the launcher's rank 0, or no launcher's.
bool is_first_process();

}  // namespace moewe
