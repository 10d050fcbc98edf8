#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/queue.hpp"
#include "runtime/planned_assignment.hpp"

namespace moewe {

/// What a rank is told of the rows that are pushed to it; the assignments lie behind it.
struct alignas(16) ArrivedPlan {
  std::uint32_t num_rows;
  std::uint32_t num_assignments;
  std::uint32_t first_output;  ///< of the outputs that the source waits for, the place of this rank's first
  std::uint32_t first_sum;     ///< the same of sums, one for each row
};

/// Tells each rank of a plan its part, all ranks at once, while push_rows moves the rows.
struct PushPlan {
  const PlannedAssignment* planned;       ///< [first_assignment[num_ranks]], of fill_plan
  const std::uint32_t* first_row;         ///< [num_ranks + 1]
  const std::uint32_t* first_assignment;  ///< [num_ranks + 1]
  std::byte* const* destinations;         ///< [num_ranks]: an ArrivedPlan, and room for its assignments
  std::uint32_t num_ranks;
  std::uint32_t max_assignments;  ///< no fewer than first_assignment[num_ranks]
};

extern const Kernel<PushPlan> push_plan;
int launch_push_plan(const PushPlan& work, StreamHandle stream);

}  // namespace moewe
