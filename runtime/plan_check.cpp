#include "runtime/plan_check.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace moewe {

std::string reason_against_plan(const ArrivedPlan& plan, std::span<const PlannedAssignment> assignments,
                                const PlanBounds& bounds) {
  if (assignments.size() > bounds.room)
    return fmt::format("it has {} assignments, and there is room for {}", assignments.size(), bounds.room);
  if (plan.first_output + assignments.size() > bounds.max_outputs) {
    return fmt::format("its outputs end at place {}, and there are {}",
                       plan.first_output + assignments.size(), bounds.max_outputs);
  }
  std::size_t num_named = 0;
  for (const PlannedAssignment& assignment : assignments) {
    if (assignment.slot >= bounds.num_slots)
      return fmt::format("it names slot {}, and there are {}", assignment.slot, bounds.num_slots);
    if (assignment.row > num_named)
      return fmt::format("it names row {} before row {}", assignment.row, num_named);
    num_named = std::max<std::size_t>(num_named, assignment.row + std::size_t{1});
  }
  if (num_named == plan.num_rows) return "";
  return fmt::format("it has {} rows, and names {}", plan.num_rows, num_named);
}

}  // namespace moewe
