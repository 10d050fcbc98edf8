#include "placement/speeds.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>

#include "comm/error.hpp"
#include "placement/arrangement.hpp"
#include "placement/load_flow.hpp"
#include "placement/loads.hpp"
#include "placement/split.hpp"
#include "placement/wide.hpp"

namespace moewe {
namespace {

constexpr Millionths one = 1'000'000;
constexpr Millionths most_slowness = 1000 * one;
constexpr std::int64_t full_speed = std::int64_t{1} << 30U;
constexpr std::int64_t least_speed = full_speed / 1000;

void check(std::span<const Millionths> slowness, std::size_t num_ranks) {
  if (!slowness.empty() && slowness.size() != num_ranks)
    throw InvalidInput(fmt::format("plan: slowness of {} ranks for {}", slowness.size(), num_ranks));
  for (const Millionths of_rank : slowness) {
    if (of_rank < 1 || of_rank > most_slowness)
      throw InvalidInput(
          fmt::format("plan: a slowness is {} millionths, not from 1 to {}", of_rank, most_slowness));
  }
}

/// Whether all ranks can be done in `time`.
bool can_be_done(Arrangement& arrangement, std::span<const std::int64_t> loads, const RankSpeeds& speeds,
                 std::int64_t time) {
  arrangement.set_base_loads(speeds.base_loads(time));
  LoadFlow flow(arrangement);
  FlowState state;
  flow.fill(state, loads);
  return flow.route(state, time) == 0;
}

}  // namespace

RankSpeeds::RankSpeeds(std::span<const Millionths> slowness, std::size_t num_ranks)
    : speeds_(num_ranks, full_speed) {
  check(slowness, num_ranks);
  if (slowness.empty()) return;
  const Millionths least = *std::min_element(slowness.begin(), slowness.end());
  for (std::size_t rank = 0; rank < num_ranks; ++rank)
    speeds_[rank] = std::max(least_speed, least * full_speed / slowness[rank]);
  are_equal_ = std::equal(speeds_.begin() + 1, speeds_.end(), speeds_.begin());
}

std::int64_t RankSpeeds::mean_time(std::int64_t total) const {
  const auto num_ranks = static_cast<std::int64_t>(speeds_.size());
  if (are_equal_) return ceil_div(total, num_ranks);
  const Wide speed = wide(std::accumulate(speeds_.begin(), speeds_.end(), std::int64_t{0}));
  return static_cast<std::int64_t>((wide(total) * wide(full_speed) + speed - 1) / speed);
}

std::int64_t RankSpeeds::allowed_time(std::int64_t total, Millionths target) const {
  return are_equal_ ? largest_allowed(total, target, speeds_.size())
                    : largest_allowed(mean_time(total), target, 1);
}

std::int64_t RankSpeeds::room(std::size_t rank, std::int64_t time) const {
  return static_cast<std::int64_t>(wide(time) * wide(speeds_[rank]) / wide(full_speed));
}

std::vector<std::int64_t> RankSpeeds::base_loads(std::int64_t time) const {
  std::vector<std::int64_t> base(speeds_.size(), 0);
  for (std::size_t rank = 0; rank < base.size(); ++rank) base[rank] = time - room(rank, time);
  return base;
}

std::int64_t least_time(const Placement& placement, std::span<const std::int64_t> loads,
                        const RankSpeeds& speeds) {
  if (speeds.are_equal()) return Splitter(placement).largest(loads);
  const std::int64_t total = checked_total(loads, placement.num_experts(), "plan");
  Arrangement arrangement(placement);
  std::int64_t low = speeds.mean_time(total);
  std::int64_t high = low;
  while (!can_be_done(arrangement, loads, speeds, high)) {
    low = high + 1;
    high *= 2;
  }
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    if (can_be_done(arrangement, loads, speeds, middle)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return high;
}

}  // namespace moewe
