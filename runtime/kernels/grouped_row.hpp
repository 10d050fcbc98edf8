#pragma once

#include <algorithm>

#include "runtime/kernels/group_rows.hpp"
#include "runtime/kernels/portable.hpp"

namespace moewe {

/// Behind the plan, on hosts and GPUs.
MOEWE_PORTABLE inline const PlannedAssignment* assignments_of(const ArrivedFrom& source) {
  return reinterpret_cast<const PlannedAssignment*>(source.plan + 1);
}

/// Makes the source's i-th assignment the row `place` of all.
MOEWE_PORTABLE inline void group_row(const GroupRows& work, const ArrivedFrom& source, std::uint32_t i,
                                     std::uint32_t place) {
  if (place >= work.max_rows) return;
  work.inputs[place] = source.rows + assignments_of(source)[i].row * work.row_bytes;
  work.outputs[place] = source.outputs + (std::size_t{source.plan->first_output} + i) * work.row_bytes;
}

MOEWE_PORTABLE inline std::uint32_t bounded(const GroupRows& work, std::uint32_t row) {
  return row < work.max_rows ? row : work.max_rows;
}

}  // namespace moewe
