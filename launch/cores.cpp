#include "launch/cores.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <hwloc.h>
#include <memory>
#include <string>

#include "comm/error.hpp"
#include "launch/parse_number.hpp"

namespace moewe {

std::size_t threads_of_rank(const Communicator& communicator, std::optional<std::size_t> asked_for) {
  if (asked_for) return *asked_for;
  const char* text = std::getenv("OMP_NUM_THREADS");
  if (text == nullptr || *text == '\0') return cores_of_rank(communicator);
  const std::string outermost(text, std::strcspn(text, ","));  // a list is of nested levels
  const auto number = parse_number(outermost);
  if (number && *number >= 1 && *number <= max_threads) return *number;
  throw InvalidInput(fmt::format(
      "OMP_NUM_THREADS must be a whole number from 1 to {}, not '{}', unless --threads N is given",
      max_threads, text));
}

std::size_t cores_of_rank(const Communicator& communicator) {
  hwloc_topology_t machine = nullptr;
  if (hwloc_topology_init(&machine) != 0) return 1;
  const std::unique_ptr<hwloc_topology, decltype(&hwloc_topology_destroy)> owner(machine,
                                                                                 hwloc_topology_destroy);
  if (hwloc_topology_load(machine) != 0) return 1;
  const int num_cores = hwloc_get_nbobjs_by_type(machine, HWLOC_OBJ_CORE);
  int num_bound = num_cores;
  const std::unique_ptr<hwloc_bitmap_s, decltype(&hwloc_bitmap_free)> bound(hwloc_bitmap_alloc(),
                                                                            hwloc_bitmap_free);
  if (hwloc_get_cpubind(machine, bound.get(), HWLOC_CPUBIND_PROCESS) == 0) {
    num_bound = hwloc_get_nbobjs_inside_cpuset_by_type(machine, bound.get(), HWLOC_OBJ_CORE);
  }
  const int share = num_cores / static_cast<int>(ranks_on_node(communicator));
  return static_cast<std::size_t>(std::max(1, std::min(num_bound, share)));
}

std::size_t ranks_on_node(const Communicator& communicator) {
  return communicator.topology().node_ranks(communicator.rank()).size();
}

}  // namespace moewe
