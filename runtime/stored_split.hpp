#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "placement/placement.hpp"
#include "runtime/routing.hpp"
#include "runtime/step_split.hpp"

namespace moewe {

/// The exact split of some step, for steps after it: each rank deals its own assignments in the proportions
/// that they had then, and asks nobody. Kept and used by all ranks in the same steps.
class StoredSplit {
 public:
  /// Steps that one exact split serves for, besides its own.
  static constexpr std::size_t most_uses = 31;

  /// `split` is an exact one of `placement`, which has replicas.
  void keep(const Placement& placement, StepSplit split);

  /// Whether it serves for one more step, which counts then: there is one of this placement, and it has not
  /// been used up.
  bool take(const Placement& placement);

  /// Quotas [num_slots] for SlotChoice, of this rank's `routing`. Of an expert that this rank did not choose
  /// in the exact split, all ranks' shares are the proportions. Of the same placement; throws InvalidInput as
  /// count_assignments does.
  std::vector<std::int64_t> quotas(const Placement& placement, const Routing& routing) const;

 private:
  StepSplit split_;
  std::uint64_t placement_ = 0;  // its digest
  std::size_t num_uses_ = most_uses;
};

}  // namespace moewe
