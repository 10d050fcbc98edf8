#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/queue.hpp"
#include "runtime/kernels/push_plan.hpp"

namespace moewe {

/// What arrived from one rank, and where it wants outputs.
struct ArrivedFrom {
  const ArrivedPlan* plan;
  const std::byte* rows;
  std::byte* outputs;  ///< the source's, of all ranks
  std::uint32_t room;  ///< for assignments: no more are looked at, whatever the plan says
};

/// Sorts the assignments that arrived by slot, as addresses: in a slot by source, then as planned. An
/// assignment to a slot beyond num_slots is left out. Outputs go to their source, or, to be summed here, to
/// `results` in that order.
///
/// A GPU reads all assignments twice for each slot.
struct GroupRows {
  const ArrivedFrom* sources;  ///< [num_sources]
  std::size_t row_bytes;       ///< of inputs and of outputs
  const std::byte** inputs;    ///< [max_rows]
  std::byte** outputs;         ///< [max_rows]
  std::uint32_t* first_row;    ///< [num_slots + 1]
  std::uint32_t num_sources;
  std::uint32_t num_slots;
  std::uint32_t max_rows;  ///< those beyond are left out, of the last slots

  std::byte* results = nullptr;           ///< null, or [max_rows] rows
  const std::byte** addresses = nullptr;  ///< [max_rows], with `results`: by source and as planned, where an
                                          ///< assignment's output will be; others keep what they have
};

extern const Kernel<GroupRows> group_rows;
int launch_group_rows(const GroupRows& work, StreamHandle stream);

}  // namespace moewe
