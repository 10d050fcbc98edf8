#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/queue.hpp"
#include "runtime/kernels/device_count.hpp"
#include "runtime/planned_assignment.hpp"

namespace moewe {

/// The dispatch plan of a rank's tokens, as DispatchPlan::build makes it: ranks one behind the other, in each
/// the tokens ascending, and the assignments by token, then k.
///
/// A GPU reads all assignments once for each rank.
struct FillPlan {
  const std::uint32_t* slots;          ///< [num_tokens, top_k], of choose_slots
  const float* weights;                ///< [num_tokens, top_k]
  const std::uint32_t* slot_rank;      ///< of every slot
  const std::uint32_t* slot_position;  ///< of every slot, on its rank
  const std::uint32_t* rows;           ///< [num_ranks], of count_destinations
  const std::uint32_t* assignments;    ///< [num_ranks]
  std::uint32_t* first_row;            ///< [num_ranks + 1]
  std::uint32_t* first_assignment;     ///< [num_ranks + 1]
  std::uint32_t* tokens;               ///< [first_row[num_ranks]]
  PlannedAssignment* planned;          ///< [first_assignment[num_ranks]]
  DeviceCount num_tokens;
  std::uint32_t top_k;
  std::uint32_t num_ranks;
};

extern const Kernel<FillPlan> fill_plan;
int launch_fill_plan(const FillPlan& work, StreamHandle stream);

}  // namespace moewe
