#include "placement/speed_split.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>
#include <vector>

#include "comm/error.hpp"
#include "placement/loads.hpp"

namespace moewe {
namespace {

constexpr Millionths one = 1'000'000;
constexpr Millionths most_slowness = 1000 * one;
constexpr Millionths least_slowness = one / 1000;

/// With one expert more on each rank, that no other rank holds.
Placement with_ballast(const Placement& placement) {
  std::vector<std::vector<ExpertId>> experts;
  for (std::size_t rank = 0; rank < placement.num_ranks(); ++rank) {
    const auto held = placement.experts_of(rank_at(rank));
    experts.emplace_back(held.begin(), held.end());
    experts.back().push_back(expert_at(placement.num_experts() + rank));
  }
  return {placement.epoch(), placement.num_experts() + placement.num_ranks(), std::move(experts)};
}

/// Looks for the least time in which all ranks are done, in assignments of a rank of slowness 1.
class SpeedSearch {
 public:
  SpeedSearch(const Placement& placement, std::span<const std::int64_t> loads,
              std::span<const Millionths> slowness)
      : num_experts_(loads.size()),
        slowness_(slowness.begin(), slowness.end()),
        splitter_(with_ballast(placement)),
        loads_(loads.begin(), loads.end()) {
    total_ = checked_total(loads, placement.num_experts(), "split for speeds");
    check(placement);
    slowness_.resize(placement.num_ranks(), one);
    loads_.resize(num_experts_ + slowness_.size(), 0);
  }

  Split run() {
    std::int64_t low = 0;
    std::int64_t high = ceil_div(total_ * *std::max_element(slowness_.begin(), slowness_.end()), one);
    while (low < high) {
      const std::int64_t middle = low + (high - low) / 2;
      set_time(middle);
      if (splitter_.largest(loads_) <= capacity_) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return without_ballast(high);
  }

 private:
  void check(const Placement& placement) const {
    if (!slowness_.empty() && slowness_.size() != placement.num_ranks()) {
      throw InvalidInput(fmt::format("split for speeds: slowness of {} ranks for {}", slowness_.size(),
                                     placement.num_ranks()));
    }
    for (const Millionths slowness : slowness_) {
      if (slowness < least_slowness || slowness > most_slowness)
        throw InvalidInput(fmt::format("split for speeds: a slowness is {} millionths, not from {} to {}",
                                       slowness, least_slowness, most_slowness));
    }
    const std::int64_t most = max_total_load / 1000 / static_cast<std::int64_t>(placement.num_ranks() + 1);
    if (total_ > most)
      throw InvalidInput(
          fmt::format("split for speeds: the loads sum to {}, not to {} at most", total_, most));
  }

  /// Ballast fills ranks up so that none may get more than what the fastest computes in `time`.
  void set_time(std::int64_t time) {
    std::int64_t most = 0;
    for (std::size_t rank = 0; rank < slowness_.size(); ++rank) most = std::max(most, room(rank, time));
    for (std::size_t rank = 0; rank < slowness_.size(); ++rank)
      loads_[num_experts_ + rank] = most - room(rank, time);
    capacity_ = most;
  }

  /// What a rank computes in `time`.
  std::int64_t room(std::size_t rank, std::int64_t time) const {
    return std::min(total_, time * one / slowness_[rank]);
  }

  Split without_ballast(std::int64_t time) {
    set_time(time);
    Split split = splitter_.split(loads_);
    split.shares.resize(split.shares.size() - slowness_.size());
    for (std::size_t rank = 0; rank < slowness_.size(); ++rank)
      split.rank_loads[rank] -= loads_[num_experts_ + rank];
    split.largest = *std::max_element(split.rank_loads.begin(), split.rank_loads.end());
    return split;
  }

  std::size_t num_experts_;
  std::vector<Millionths> slowness_;
  Splitter splitter_;
  std::vector<std::int64_t> loads_;  // and the ballast of each rank
  std::int64_t total_ = 0;
  std::int64_t capacity_ = 0;
};

}  // namespace

Split split_for_speeds(const Placement& placement, std::span<const std::int64_t> loads,
                       std::span<const Millionths> slowness) {
  return SpeedSearch(placement, loads, slowness).run();
}

}  // namespace moewe
