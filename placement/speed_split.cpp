#include "placement/speed_split.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>
#include <utility>
#include <vector>

#include "comm/error.hpp"
#include "placement/loads.hpp"

namespace moewe {
namespace {

constexpr Millionths one = 1'000'000;

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

std::vector<std::int64_t> sums_of(std::span<const std::int64_t> counts, std::size_t num_experts) {
  std::vector<std::int64_t> sums(num_experts, 0);
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] < 0 || counts[i] > max_total_load)
      throw InvalidInput(fmt::format("split for speeds: a count is {}", counts[i]));
    sums[i % num_experts] = std::min(sums[i % num_experts] + counts[i], max_total_load + 1);
  }
  return sums;
}

/// `values` [num_rows][..] without the last few columns.
std::vector<std::int64_t> without_last(std::span<const std::int64_t> values, std::size_t num_rows,
                                       std::size_t num_less) {
  const std::size_t width = values.size() / num_rows;
  std::vector<std::int64_t> rest;
  for (std::size_t row = 0; row < num_rows; ++row) {
    const auto kept = values.subspan(row * width, width - num_less);
    rest.insert(rest.end(), kept.begin(), kept.end());
  }
  return rest;
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

  /// Sets ballast and capacity to those of the least time.
  void find_time() {
    std::int64_t low = least_imaginable();
    std::int64_t step = 1;
    std::int64_t high = low;
    for (; !is_possible(high); step *= 2) {
      low = high + 1;
      high = std::min(high + step, most_imaginable());
    }
    while (low < high) {
      const std::int64_t middle = low + (high - low) / 2;
      if (is_possible(middle)) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    set_time(high);
  }

  Split split() { return without_ballast(splitter_.split(loads_)); }

  /// Once there is a time: what each rank has besides.
  std::span<const std::int64_t> ballast() const { return std::span(loads_).subspan(num_experts_); }

  Split without_ballast(Split split) const {
    split.shares.resize(split.shares.size() - slowness_.size());
    for (std::size_t rank = 0; rank < slowness_.size(); ++rank) split.rank_loads[rank] -= ballast()[rank];
    split.largest = *std::max_element(split.rank_loads.begin(), split.rank_loads.end());
    return split;
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
    const std::int64_t most = most_load_for_speeds(placement.num_ranks());
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

  bool is_possible(std::int64_t time) {
    set_time(time);
    return splitter_.largest(loads_) <= capacity_;
  }

  /// In which any rank alone is done.
  std::int64_t most_imaginable() const {
    return ceil_div(total_ * *std::max_element(slowness_.begin(), slowness_.end()), one);
  }

  /// In less, not even ranks that hold all experts could be done.
  std::int64_t least_imaginable() const {
    std::int64_t low = 0;
    std::int64_t high = most_imaginable();
    while (low < high) {
      const std::int64_t middle = low + (high - low) / 2;
      std::int64_t sum = 0;
      for (std::size_t rank = 0; rank < slowness_.size(); ++rank) sum += room(rank, middle);
      if (sum >= total_) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return high;
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
  SpeedSearch search(placement, loads, slowness);
  search.find_time();
  return search.split();
}

SourceSplit split_by_source_for_speeds(const Placement& placement, const Topology& topology,
                                       std::span<const std::int64_t> counts,
                                       std::span<const Millionths> slowness) {
  const std::size_t num_ranks = placement.num_ranks();
  const std::size_t num_experts = placement.num_experts();
  if (counts.size() != num_ranks * num_experts)
    throw InvalidInput(fmt::format("split for speeds: {} counts of {} ranks and {} experts", counts.size(),
                                   num_ranks, num_experts));
  SpeedSearch search(placement, sums_of(counts, num_experts), slowness);
  search.find_time();
  std::vector<std::int64_t> all;  // with the ballast, which comes from its own rank
  for (std::size_t source = 0; source < num_ranks; ++source) {
    const auto own = counts.subspan(source * num_experts, num_experts);
    all.insert(all.end(), own.begin(), own.end());
    all.resize(all.size() + num_ranks, 0);
    all[all.size() - num_ranks + source] = search.ballast()[source];
  }
  SourceSplit split = split_by_source(with_ballast(placement), topology, all);
  const std::int64_t of_ballast =
      std::accumulate(search.ballast().begin(), search.ballast().end(), std::int64_t{0});
  split.on_own_rank -= of_ballast;
  split.on_own_node -= of_ballast;
  split.quotas = without_last(split.quotas, num_ranks, num_ranks);
  split.split = search.without_ballast(std::move(split.split));
  return split;
}

}  // namespace moewe
