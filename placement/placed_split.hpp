#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "comm/topology.hpp"
#include "placement/placement.hpp"
#include "placement/source_split.hpp"

namespace moewe {

/// The split that steps under a placement have: that for ranks of its slowness, the usual one where it has
/// none, and for more loads than that takes. Throws InvalidInput as these do.
Split split_as_placed(const Placement& placement, std::span<const std::int64_t> loads);
SourceSplit split_as_placed(const Placement& placement, const Topology& topology,
                            std::span<const std::int64_t> counts);

/// How long the slowest rank takes for `loads` [num_experts], which are split as placed, if ranks are as slow
/// as `slowness` says, which may be another than the placement's: in assignments that the fastest rank
/// computes meanwhile, at most max_total_load. Where `slowness` is empty: the largest rank load. Loads that
/// are too large for a split for speeds are rounded.
std::int64_t time_as_placed(const Placement& placement, std::span<const std::int64_t> loads,
                            std::span<const Millionths> slowness);

}  // namespace moewe
