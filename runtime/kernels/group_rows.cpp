#include "runtime/kernels/group_rows.hpp"

#include <span>
#include <vector>

#include "runtime/kernels/grouped_row.hpp"

namespace moewe {
namespace {

std::span<const PlannedAssignment> all_of(const ArrivedFrom& source) {
  return {assignments_of(source), num_assignments_of(source)};
}

void group_on_host(const GroupRows& work) {
  std::vector<std::uint32_t> next(work.num_slots + 1, 0);
  const std::span<const ArrivedFrom> sources(work.sources, work.num_sources);
  for (const ArrivedFrom& source : sources) {
    for (const PlannedAssignment& assignment : all_of(source)) {
      if (assignment.slot < work.num_slots) ++next[assignment.slot + 1];
    }
  }
  for (std::uint32_t slot = 0; slot < work.num_slots; ++slot) next[slot + 1] += next[slot];
  for (std::uint32_t slot = 0; slot <= work.num_slots; ++slot)
    work.first_row[slot] = bounded(work, next[slot]);
  std::uint32_t before = 0;
  for (const ArrivedFrom& source : sources) {
    for (std::uint32_t i = 0; i < num_assignments_of(source); ++i) {
      const std::uint32_t slot = assignments_of(source)[i].slot;
      if (slot < work.num_slots) group_row(work, {source, before}, i, next[slot]++);
    }
    before += num_assignments_of(source);
  }
}

}  // namespace

const Kernel<GroupRows> group_rows{"group_rows", group_on_host, MOEWE_ON_GPU(launch_group_rows)};

}  // namespace moewe
