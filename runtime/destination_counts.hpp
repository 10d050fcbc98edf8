#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "placement/placement.hpp"
#include "runtime/routing.hpp"

namespace moewe {

/// How much of a dispatch plan is one rank's.
struct DestinationCounts {
  std::uint32_t rows = 0;
  std::uint32_t assignments = 0;

  bool operator==(const DestinationCounts&) const = default;
};

/// [num_ranks], of the plan that DispatchPlan::build, or the kernels from choose_slots to fill_plan, make of
/// the routing. `quotas` are those of StepSplit. Local, on the host.
std::vector<DestinationCounts> count_for_ranks(const Routing& routing, const Placement& placement,
                                               std::span<const std::int64_t> quotas);

}  // namespace moewe
