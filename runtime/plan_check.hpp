#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "runtime/kernels/push_plan.hpp"

namespace moewe {

/// What a rank has memory for, of a plan that arrives.
struct PlanBounds {
  std::size_t room;         ///< for assignments
  std::size_t max_outputs;  ///< that its source waits for, from all ranks
  std::size_t num_slots;
};

/// Why a plan cannot be followed, though it arrived as it was written: outputs have a place at their source,
/// slots are there, and rows are named in their order, each by one assignment or more. Or empty.
std::string reason_against_plan(const ArrivedPlan& plan, std::span<const PlannedAssignment> assignments,
                                const PlanBounds& bounds);

}  // namespace moewe
