#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "placement/placement.hpp"

namespace moewe {

/// What one rank measured in some steps of all layers; whole picoseconds, so that all ranks make the same of
/// what they tell one another. None negative, none above 2^50.
struct StepMeasures {
  std::int64_t layer_step = 0;     ///< one step of one layer, in the mean
  std::int64_t sending = 0;        ///< in which it sent and took weights, in all steps
  std::int64_t sending_steps = 0;  ///< in which experts were on their way; the same on all ranks
  std::int64_t planning = 0;       ///< in which it decided on plans and began their stages, for `plans`
  std::int64_t plans = 0;          ///< that were carried out; the same on all ranks

  bool operator==(const StepMeasures&) const = default;
};

/// What moving experts costs, in shares of what one step of one layer costs.
struct MoveCosts {
  Millionths interference = 0;  ///< for each step in which experts travel
  Millionths switching = 0;     ///< for each plan: deciding on it, and beginning its stages

  bool operator==(const MoveCosts&) const = default;
};

/// Move costs from what ranks measured. A value; integers only, and the same on every rank that is told the
/// same. Of the latest five windows in which experts moved, or plans were carried out, the median counts,
/// so that one disturbed window does not.
class MoveCostEstimate {
 public:
  /// `assumed` is what holds until something is measured.
  explicit MoveCostEstimate(const MoveCosts& assumed) : costs_(assumed) {}

  /// `measures` [num_ranks], at least one: the slowest rank of each counts. Throws InvalidInput for measures
  /// out of range.
  void add_window(std::span<const StepMeasures> measures);

  const MoveCosts& costs() const { return costs_; }

 private:
  MoveCosts costs_;
  std::vector<Millionths> interference_;  // of the latest windows
  std::vector<Millionths> switching_;
};

}  // namespace moewe
