#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "placement/placement.hpp"
#include "placement/plan.hpp"

namespace moewe {

struct RobustOptions {
  std::size_t scenarios = 64;  ///< that the placement is made for; at most 64
  std::size_t iterations = 700;
  std::uint64_t seed = 1;
  /// Other loads of the same experts that were seen, each [num_experts]: they take the place of drawn
  /// scenarios, the first ones first.
  std::vector<std::vector<std::int64_t>> seen;
  /// From a placement only: how many experts may arrive on ranks, and what the mean of the largest rank loads
  /// must fall for each of them, in assignments (as IncrementalOptions has both).
  std::size_t most_arrivals = std::numeric_limits<std::size_t>::max();
  std::int64_t price = 0;
};

/// A placement for loads that will have drifted from `loads`, under the conditions of plan_placement, from
/// which it starts: it lowers the mean, over drawn scenarios, of the largest rank load after the exact split.
/// A scenario multiplies each expert's load by exp(sd x), x nearly normal, with an sd between 0.05 and 0.5
/// for each scenario. Drawn and weighed in integers: the same answer wherever it is computed, for the same
/// seed. Copies that come stay spread over nodes as those of plan_placement are; which node a token comes
/// from, and what rows cost on the way, is not looked at.
Placement plan_robustly(std::span<const std::int64_t> loads, const SlotSpace& space,
                        const RobustOptions& options = {});

/// The same from a placement that is in use, whose ranks and slots are those of `space`, in its next epoch:
/// with the arrivals and at the price that `options` allow. What stays on a rank stays in its slot, and so do
/// second slots of an expert on one rank that `from` has. Throws InvalidInput also for other slots.
Placement plan_robustly_from(const Placement& from, std::span<const std::int64_t> loads,
                             const SlotSpace& space, const RobustOptions& options = {});

/// The drift scenarios themselves, drawn anew for loads in other proportions, [scenarios][num_experts]: each
/// sums to a little less than 2^30, or is all zero where `loads` is. Nothing of RobustOptions::seen is in
/// them.
std::vector<std::vector<std::int64_t>> drift_scenarios(std::span<const std::int64_t> loads,
                                                       std::size_t scenarios, std::uint64_t seed);

}  // namespace moewe
