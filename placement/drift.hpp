#pragma once

#include <cstdint>
#include <vector>

namespace moewe {

/// Loads in the same proportion that sum to `total`, at most 2^30, or a little less; all zero as they are.
/// None is negative, and their sum fits.
std::vector<std::int64_t> to_common_total(std::vector<std::int64_t> loads, std::int64_t total);

}  // namespace moewe
