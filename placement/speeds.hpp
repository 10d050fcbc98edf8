#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "placement/placement.hpp"
#include "placement/plan.hpp"

namespace moewe {

/// How fast ranks compute, for planners. A rank's time is what the fastest rank computes meanwhile: where all
/// are equally fast, times are loads.
///
/// Planners make loads even; beside loads that cannot move, and that are the larger the slower a rank is,
/// they make times even.
class RankSpeeds {
 public:
  /// `slowness` [num_ranks] as CostCoefficients has it; none: all alike. Throws InvalidInput for another
  /// number of ranks, and a slowness that is not above 0 and up to 1000. What is more than 1000 times slower
  /// than the fastest counts as 1000 times.
  RankSpeeds(std::span<const Millionths> slowness, std::size_t num_ranks);

  bool are_equal() const { return are_equal_; }

  /// The least time for `total` assignments, at most max_total_load, if they could be shared freely.
  std::int64_t mean_time(std::int64_t total) const;

  /// The longest time within `target` millionths of mean_time().
  std::int64_t allowed_time(std::int64_t total, Millionths target) const;

  /// What a rank computes in `time`, rounded down.
  std::int64_t room(std::size_t rank, std::int64_t time) const;

  /// [num_ranks] what fills a rank up so that `time` is over for all when their loads are `time`; all 0 where
  /// they are equally fast.
  std::vector<std::int64_t> base_loads(std::int64_t time) const;

 private:
  std::vector<std::int64_t> speeds_;  // [num_ranks] over that of the fastest, in 1 / 2^30
  bool are_equal_ = true;
};

/// The least time, as RankSpeeds counts it, of the slowest rank after any split of `loads` on `placement`.
/// Under the conditions of plan_placement.
std::int64_t least_time(const Placement& placement, std::span<const std::int64_t> loads,
                        const RankSpeeds& speeds);

}  // namespace moewe
