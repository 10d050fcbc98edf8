#include "launch/launcher.hpp"

#include <array>
#include <cstdlib>

#include "launch/parse_number.hpp"

namespace moewe {
namespace {

/// Variables that a launcher sets together.
struct LauncherVariables {
  const char* rank;
  const char* job;
};

/// What Open MPI, Slurm with PMIx or PMI-2, and MPICH's launchers tell a rank.
constexpr std::array<LauncherVariables, 3> launchers{{{"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
                                                      {"PMIX_RANK", "PMIX_NAMESPACE"},
                                                      {"PMI_RANK", "PMI_SIZE"}}};

}  // namespace

/// A rank that is told without its job was left over from something else, and counts as none.
std::optional<std::uint64_t> find_launcher_rank() {
  for (const auto& [rank, job] : launchers) {
    const char* value = std::getenv(rank);
    if (value != nullptr && std::getenv(job) != nullptr) return parse_number(value);
  }
  return std::nullopt;
}

bool started_by_launcher() { return find_launcher_rank().has_value(); }

bool is_first_process() { return find_launcher_rank().value_or(0) == 0; }

}  // namespace moewe
