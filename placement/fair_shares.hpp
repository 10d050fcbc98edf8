#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace moewe {

/// How much of an expert's capacity each source may use: as evenly as demands allow. Nobody gets more than it
/// demands, and no share can grow but at the cost of one that is no larger by more than one (max-min fair).
/// What does not divide goes one by one to the first sources whose demand is not met.
///
/// `demands` [sources] are assignments of one expert. The shares sum to `capacity`, or to all demands where
/// these are fewer. Integers only: the same wherever it is computed. Throws InvalidInput where anything is
/// negative, or demands sum to more than max_total_load (placement/split.hpp).
std::vector<std::int64_t> fair_shares(std::span<const std::int64_t> demands, std::int64_t capacity);

}  // namespace moewe
