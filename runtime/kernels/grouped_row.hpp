#pragma once

#include <algorithm>

#include "runtime/kernels/group_rows.hpp"
#include "runtime/kernels/portable.hpp"

namespace moewe {

/// Behind the plan, on hosts and GPUs.
MOEWE_PORTABLE inline const PlannedAssignment* assignments_of(const ArrivedFrom& source) {
  return reinterpret_cast<const PlannedAssignment*>(source.plan + 1);
}

MOEWE_PORTABLE inline std::uint32_t num_assignments_of(const ArrivedFrom& source) {
  return std::min(source.plan->num_assignments, source.room);
}

/// A source, and how many assignments arrived from those before it.
struct NextSource {
  ArrivedFrom from;
  std::uint32_t before;
};

/// Makes the source's i-th assignment the row `place` of all.
MOEWE_PORTABLE inline void group_row(const GroupRows& work, const NextSource& source, std::uint32_t i,
                                     std::uint32_t place) {
  if (place >= work.max_rows) return;
  const ArrivedFrom& from = source.from;
  work.inputs[place] = from.rows + assignments_of(from)[i].row * work.row_bytes;
  if (work.results == nullptr) {
    work.outputs[place] = from.outputs + (std::size_t{from.plan->first_output} + i) * work.row_bytes;
    return;
  }
  work.outputs[place] = work.results + place * work.row_bytes;
  if (source.before + i < work.max_rows) work.addresses[source.before + i] = work.outputs[place];
}

MOEWE_PORTABLE inline std::uint32_t bounded(const GroupRows& work, std::uint32_t row) {
  return row < work.max_rows ? row : work.max_rows;
}

}  // namespace moewe
