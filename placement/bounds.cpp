#include "placement/bounds.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

#include "comm/error.hpp"
#include "placement/loads.hpp"

namespace moewe {
namespace {

bool copies_fit(std::span<const std::int64_t> loads, std::int64_t most, std::size_t num_slots) {
  std::int64_t copies = 0;
  for (const std::int64_t load : loads) copies += std::max<std::int64_t>(1, ceil_div(load, most));
  return copies <= static_cast<std::int64_t>(num_slots);
}

/// 0, a, a + b, ... of values a, b, ...
template <typename Values>
std::vector<std::int64_t> prefix_sums(const Values& values) {
  std::vector<std::int64_t> sums{0};
  for (const auto value : values) sums.push_back(sums.back() + static_cast<std::int64_t>(value));
  return sums;
}

/// Sums over the first i of a layer's experts, or of its ranks' slots, sorted both ways.
struct SortedSums {
  std::vector<std::int64_t> largest;
  std::vector<std::int64_t> smallest;

  template <typename Value>
  explicit SortedSums(std::span<const Value> values) {
    std::vector<Value> sorted(values.begin(), values.end());
    std::sort(sorted.begin(), sorted.end());
    smallest = prefix_sums(sorted);
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    largest = prefix_sums(sorted);
  }
};

/// Where the n largest loads lie on exactly i ranks.
std::int64_t bound_on(const SortedSums& loads, const SortedSums& slots, std::size_t n, std::size_t i) {
  const std::int64_t others = std::max<std::int64_t>(0, slots.smallest[i] - static_cast<std::int64_t>(n));
  return ceil_div(loads.largest[n] + loads.smallest[static_cast<std::size_t>(others)],
                  static_cast<std::int64_t>(i));
}

/// Where the n largest loads lie on any ranks that can hold them.
std::int64_t bound_of_largest(const SortedSums& loads, const SortedSums& slots, std::size_t n) {
  const std::size_t num_ranks = slots.largest.size() - 1;
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  for (std::size_t i = 1; i <= std::min(n, num_ranks); ++i) {
    const bool can_hold = slots.largest[i] >= static_cast<std::int64_t>(n);
    if (can_hold) least = std::min(least, bound_on(loads, slots, n, i));
  }
  return least;
}

/// Where every rank holds at most q of the largest loads but for one, which holds q + 1 at least.
std::int64_t bound_of_crowding(const SortedSums& loads, std::span<const std::size_t> slots, std::size_t q) {
  std::size_t num_large = 1;
  std::size_t room = loads.largest.size();  // of the smallest rank that can hold q + 1
  for (const std::size_t of_rank : slots) {
    num_large += std::min(q, of_rank);
    if (of_rank > q) room = std::min(room, of_rank);
  }
  if (room == loads.largest.size()) return 0;
  return loads.largest[num_large] - loads.largest[num_large - q - 1] + loads.smallest[room - q - 1];
}

}  // namespace

std::int64_t mean_bound(std::span<const std::int64_t> loads, std::size_t num_ranks) {
  const std::int64_t total = checked_total(loads, loads.size(), "bounds");
  if (num_ranks == 0) throw InvalidInput("bounds: there must be a rank at least");
  return ceil_div(total, static_cast<std::int64_t>(num_ranks));
}

std::int64_t slot_bound(std::span<const std::int64_t> loads, std::size_t num_ranks, std::size_t num_slots) {
  std::int64_t low = mean_bound(loads, num_ranks);
  if (num_slots < loads.size()) {
    throw InvalidInput(fmt::format("bounds: {} experts do not fit into {} slots", loads.size(), num_slots));
  }
  if (low == 0) return 0;
  std::int64_t high = std::accumulate(loads.begin(), loads.end(), std::int64_t{0});
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    if (copies_fit(loads, middle, num_slots)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

std::int64_t cardinality_bound(std::span<const std::int64_t> loads,
                               std::span<const std::size_t> slots_of_rank) {
  std::int64_t largest = mean_bound(loads, slots_of_rank.size());
  std::vector<std::size_t> slots(slots_of_rank.begin(), slots_of_rank.end());
  slots.erase(std::remove(slots.begin(), slots.end(), std::size_t{0}), slots.end());
  const SortedSums sorted_loads(loads);
  const SortedSums sorted_slots(std::span<const std::size_t>{slots});
  if (sorted_slots.largest.back() != static_cast<std::int64_t>(loads.size())) {
    throw InvalidInput(fmt::format("bounds: {} slots are not one for each of {} experts",
                                   sorted_slots.largest.back(), loads.size()));
  }
  for (std::size_t n = 1; n <= loads.size(); ++n)
    largest = std::max(largest, bound_of_largest(sorted_loads, sorted_slots, n));
  for (std::size_t q = 0; q < loads.size(); ++q)
    largest = std::max(largest, bound_of_crowding(sorted_loads, slots, q));
  return largest;
}

std::int64_t LoadBounds::largest() const { return std::max({mean, slot, cardinality.value_or(0)}); }

LoadBounds load_bounds(std::span<const std::int64_t> loads, std::span<const std::size_t> slots_of_rank) {
  const std::size_t num_slots = std::accumulate(slots_of_rank.begin(), slots_of_rank.end(), std::size_t{0});
  LoadBounds bounds{mean_bound(loads, slots_of_rank.size()),
                    slot_bound(loads, slots_of_rank.size(), num_slots), std::nullopt};
  if (num_slots == loads.size()) bounds.cardinality = cardinality_bound(loads, slots_of_rank);
  return bounds;
}

}  // namespace moewe
