#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "placement/placement.hpp"
#include "placement/plan.hpp"

namespace moewe {

struct IncrementalOptions {
  Millionths target = 1'020'000;  ///< largest over mean rank load that is good enough
  std::size_t most_arrivals = std::numeric_limits<std::size_t>::max();
  /// What an arrival costs, in assignments: it must relieve overloaded ranks of more than that. With the
  /// price of a byte, times the bytes of an expert.
  std::int64_t price = 0;
  /// As SlotSpace has it.
  std::vector<Millionths> slowness = {};
};

/// A placement near `from`, in its next epoch, whose exact split of `loads` brings no rank above the target:
/// with few arrivals (count_arrivals), each of which overwrites a replica or swaps two experts. What stays on
/// a rank stays in its slot. It may stop above the target where arrivals are limited or priced, and where no
/// exchange of two slots helps any more; a full plan (plan_placement) may then be better.
///
/// Never a second slot of an expert on one rank, other than those of `from`. The same answer wherever it is
/// computed. Throws InvalidInput as plan_placement does.
Placement plan_incrementally(const Placement& from, std::span<const std::int64_t> loads,
                             const IncrementalOptions& options = {});

}  // namespace moewe
