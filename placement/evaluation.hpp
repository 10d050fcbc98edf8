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

}  // namespace moewe
