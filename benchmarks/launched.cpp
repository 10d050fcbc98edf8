#include "benchmarks/launched.hpp"

#include <cstdlib>
#include <string_view>

namespace moewe::bench {
namespace {

/// What Open MPI, Slurm and MPICH's launchers tell a rank.
const char* launched_rank() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"}) {
    if (const char* value = std::getenv(name)) return value;
  }
  return nullptr;
}

}  // namespace

bool started_by_launcher() { return launched_rank() != nullptr; }

bool is_first_of_launched() {
  const char* rank = launched_rank();
  return rank == nullptr || std::string_view(rank) == "0";
}

}  // namespace moewe::bench
