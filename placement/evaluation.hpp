#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "placement/placement.hpp"

namespace moewe {

/// Assignments of each rank where an expert's copies share its load evenly, in fractions of assignments: what
/// a system computes that chooses among copies by turns. A report; nothing is decided by it.
std::vector<double> equal_split_loads(std::span<const std::int64_t> loads, const Placement& placement);

/// Largest over mean of equal_split_loads; 1.0 when nothing is loaded.
double equal_split_imbalance(std::span<const std::int64_t> loads, const Placement& placement);

/// Slots that hold what another slot of the same rank holds before them: they balance nothing.
std::size_t num_duplicates(const Placement& placement);

/// Experts that a rank holds in `to` and in no slot of `from`, over all ranks: whose weights must arrive where
/// `to` follows `from`. A copy within a rank counts as none. Both are of the same experts and ranks.
std::size_t num_arrivals(const Placement& from, const Placement& to);

}  // namespace moewe
