#include "placement/fair_shares.hpp"

#include <algorithm>
#include <fmt/format.h>

#include "comm/error.hpp"
#include "placement/loads.hpp"

namespace moewe {
namespace {

/// Up to where all demands are met, and what is then left for the others.
struct Level {
  std::int64_t height;
  std::int64_t rest;
};

/// `demands` sum to more than `capacity`.
Level find_level(std::span<const std::int64_t> demands, std::int64_t capacity) {
  std::vector<std::int64_t> sorted(demands.begin(), demands.end());
  std::sort(sorted.begin(), sorted.end());
  std::size_t met = 0;
  auto others = static_cast<std::int64_t>(sorted.size());
  while (sorted[met] <= capacity / others) {
    capacity -= sorted[met++];
    --others;
  }
  return {capacity / others, capacity % others};
}

}  // namespace

std::vector<std::int64_t> fair_shares(std::span<const std::int64_t> demands, std::int64_t capacity) {
  if (capacity < 0) {
    throw InvalidInput(fmt::format("fair shares: the capacity is {}, but may not be negative", capacity));
  }
  const std::int64_t total = checked_total(demands, demands.size(), "fair shares");
  std::vector<std::int64_t> shares(demands.begin(), demands.end());
  if (total <= capacity) return shares;
  Level level = find_level(demands, capacity);
  for (std::int64_t& share : shares) {
    if (share <= level.height) continue;
    share = level.height + (level.rest > 0 ? 1 : 0);
    level.rest -= level.rest > 0 ? 1 : 0;
  }
  return shares;
}

}  // namespace moewe
