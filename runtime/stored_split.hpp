#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "placement/placement.hpp"
#include "runtime/routing.hpp"
#include "runtime/step_split.hpp"

namespace moewe {

/// The exact split of some step, for steps after it: each rank deals its own assignments in the proportions
/// that they had then, and asks nobody. Kept and used by all ranks in the same steps. What is left over by
/// rounding goes elsewhere on each rank and in each step, but loads that have changed since, or differ by
/// chance, are as uneven as they are: the fewer tokens in a step, the less it gains.
class StoredSplit {
 public:
  /// Steps that one exact split serves for, besides its own.
  static constexpr std::size_t most_uses = 31;

  /// `split` is an exact one of `placement`, which has replicas, of a step with tokens.
  void keep(const Placement& placement, StepSplit split);

  /// Whether it serves for one more step, which counts then: there is one of this placement, and it has not
  /// been used up.
  bool take(const Placement& placement);

  /// Quotas [num_slots] for SlotChoice, of the `routing` of this rank, which is `rank`. Of an expert that it
  /// did not choose in the exact split, all ranks' shares are the proportions. Of the same placement; throws
  /// InvalidInput as count_assignments does.
  std::vector<std::int64_t> quotas(const Placement& placement, const Routing& routing, Rank rank) const;

 private:
  std::int64_t start_of_deal(Rank rank, ExpertId expert) const;

  StepSplit split_;
  std::uint64_t placement_ = 0;  // its digest
  std::size_t num_uses_ = most_uses;
};

}  // namespace moewe
