#pragma once

#include "runtime/kernels/portable.hpp"
#include "runtime/kernels/push_plan.hpp"

namespace moewe {

/// A rank's part of the plan.
MOEWE_PORTABLE inline ArrivedPlan part_of(const PushPlan& work, std::uint32_t rank) {
  const std::uint32_t first = work.first_assignment[rank];
  return {work.first_row[rank + 1] - work.first_row[rank], work.first_assignment[rank + 1] - first, first,
          work.first_row[rank]};
}

}  // namespace moewe
