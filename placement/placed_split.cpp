#include "placement/placed_split.hpp"

#include <algorithm>
#include <numeric>

#include "placement/loads.hpp"
#include "placement/speed_split.hpp"
#include "placement/split.hpp"
#include "placement/wide.hpp"

namespace moewe {
namespace {

bool is_for_speeds(const Placement& placement, std::int64_t total) {
  return !placement.slowness().empty() && total <= most_load_for_speeds(placement.num_ranks());
}

std::int64_t sum_of(std::span<const std::int64_t> loads) {
  return std::accumulate(loads.begin(), loads.end(), std::int64_t{0});
}

std::vector<std::int64_t> rank_loads_as_placed(const Placement& placement,
                                               std::span<const std::int64_t> loads) {
  const std::int64_t total = checked_total(loads, placement.num_experts(), "time of a placement");
  const std::int64_t divisor =
      std::max<std::int64_t>(1, ceil_div(total, most_load_for_speeds(placement.num_ranks())));
  std::vector<std::int64_t> fewer(loads.begin(), loads.end());
  for (std::int64_t& load : fewer) load /= divisor;
  std::vector<std::int64_t> of_rank = split_as_placed(placement, fewer).rank_loads;
  for (std::int64_t& load : of_rank) load *= divisor;
  return of_rank;
}

}  // namespace

Split split_as_placed(const Placement& placement, std::span<const std::int64_t> loads) {
  return is_for_speeds(placement, sum_of(loads)) ? split_for_speeds(placement, loads, placement.slowness())
                                                 : split_loads(placement, loads);
}

SourceSplit split_as_placed(const Placement& placement, const Topology& topology,
                            std::span<const std::int64_t> counts) {
  if (!is_for_speeds(placement, sum_of(counts))) return split_by_source(placement, topology, counts);
  return split_by_source_for_speeds(placement, topology, counts, placement.slowness());
}

std::int64_t time_as_placed(const Placement& placement, std::span<const std::int64_t> loads,
                            std::span<const Millionths> slowness) {
  if (slowness.empty() && placement.slowness().empty()) return Splitter(placement).largest(loads);
  const std::vector<std::int64_t> of_rank = rank_loads_as_placed(placement, loads);
  if (slowness.empty()) return *std::max_element(of_rank.begin(), of_rank.end());
  const Millionths least = *std::min_element(slowness.begin(), slowness.end());
  std::int64_t longest = 0;
  for (std::size_t rank = 0; rank < of_rank.size(); ++rank) {
    const Wide time = (wide(of_rank[rank]) * wide(slowness[rank]) + wide(least) - 1) / wide(least);
    longest = std::max(longest, static_cast<std::int64_t>(std::min(wide(max_total_load), time)));
  }
  return longest;
}

}  // namespace moewe
