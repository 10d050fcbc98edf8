#pragma once

#include <cstdint>
#include <span>

#include "placement/plan.hpp"
#include "placement/split.hpp"

namespace moewe {

/// The split for ranks that are not equally fast: the least time of the slowest rank, where a rank takes for
/// its load that much times its slowness (millionths, [num_ranks], as CostCoefficients has them; none: all
/// alike). A slow rank gets less. Where times are equal within one assignment of a rank, ranks may differ by
/// that.
///
/// Found by splitting as usual beside loads that cannot move and that make up for the speed: some twenty
/// splits. Split::largest is the largest rank load, which may be on a fast rank; Split::hot_ranks are those
/// that prove the time. Throws InvalidInput as Splitter::split does, for a slowness that is not from 1 / 1000
/// to 1000, and where loads sum to more than max_total_load / (1000 x ranks).
Split split_for_speeds(const Placement& placement, std::span<const std::int64_t> loads,
                       std::span<const Millionths> slowness);

}  // namespace moewe
