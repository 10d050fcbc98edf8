#pragma once

#include <cstdint>
#include <span>

#include "placement/plan.hpp"
#include "placement/source_split.hpp"
#include "placement/split.hpp"

namespace moewe {

/// Of a rank, in splits for speeds.
inline constexpr Millionths least_slowness = 1'000;
inline constexpr Millionths most_slowness = 1'000'000'000;

/// The largest sum of loads that splits for speeds take.
constexpr std::int64_t most_load_for_speeds(std::size_t num_ranks) {
  constexpr std::int64_t most = std::int64_t{1} << 32U;
  const std::int64_t with_ballast = max_total_load / static_cast<std::int64_t>(num_ranks + 1);
  return with_ballast < most ? with_ballast : most;
}

/// The split for ranks that are not equally fast: the least time of the slowest rank, where a rank takes for
/// its load that much times its slowness (millionths, [num_ranks], as CostCoefficients has them; none: all
/// alike). A slow rank gets less. Where times are equal within one assignment of a rank, ranks may differ by
/// that.
///
/// Found by splitting as usual beside loads that cannot move and that make up for the speed: a few splits
/// where the ranks can be done together, else some twenty. Split::largest is the largest rank load, which may
/// be on a fast rank; Split::hot_ranks are those that prove the time. Throws InvalidInput as Splitter::split
/// does, for a slowness that is not from 1 / 1000 to 1000, and where loads sum to more than
/// most_load_for_speeds().
Split split_for_speeds(const Placement& placement, std::span<const std::int64_t> loads,
                       std::span<const Millionths> slowness);

/// The same with the sources of assignments, `counts` [num_ranks][num_experts], which stay on their rank and
/// node as far as split_by_source() lets them.
SourceSplit split_by_source_for_speeds(const Placement& placement, const Topology& topology,
                                       std::span<const std::int64_t> counts,
                                       std::span<const Millionths> slowness);

}  // namespace moewe
