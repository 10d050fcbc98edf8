#include "placement/plan.hpp"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "placement/exchange_search.hpp"
#include "placement/loads.hpp"
#include "placement/packing.hpp"
#include "placement/single_search.hpp"
#include "placement/speeds.hpp"

namespace moewe {

SlotSpace SlotSpace::equal(Topology topology, std::size_t slots_per_rank) {
  const std::size_t num_ranks = topology.num_ranks();
  return {std::move(topology), std::vector<std::size_t>(num_ranks, slots_per_rank)};
}

SlotSpace SlotSpace::of(const Placement& placement, Topology topology) {
  SlotSpace space{std::move(topology), {}, placement.epoch() + 1};
  for (std::size_t rank = 0; rank < placement.num_ranks(); ++rank) {
    space.slots_per_rank.push_back(placement.experts_of(rank_at(rank)).size());
  }
  return space;
}

std::size_t SlotSpace::num_slots() const {
  return std::accumulate(slots_per_rank.begin(), slots_per_rank.end(), std::size_t{0});
}

namespace {

Arrangement arrange_beside(std::span<const std::int64_t> loads, const PackSpace& space, std::int64_t goal,
                           std::size_t most_exchanges) {
  Arrangement arrangement = pack(loads, space);
  if (arrangement.num_slots() == loads.size()) {
    exchange_singles(arrangement, loads, goal, most_exchanges);
  } else {
    ExchangeSearch(arrangement, loads).run(goal, most_exchanges);
  }
  return arrangement;
}

/// For ranks of different speed. Base loads make up for speeds at one time only: if it is not reached, others
/// fit the time that was.
class SpeedPlan {
 public:
  SpeedPlan(std::span<const std::int64_t> loads, const PackSpace& space, const RankSpeeds& speeds)
      : loads_(loads), space_(space), speeds_(speeds) {}

  /// `even` is the goal for loads where speeds are ignored.
  Arrangement run(std::int64_t allowed, std::int64_t even, std::size_t most_exchanges) {
    constexpr int most_rounds = 3;
    try_beside(std::vector<std::int64_t>(space_.base_loads.size(), 0), even, most_exchanges);
    std::int64_t time = allowed;
    for (int round = 0; round < most_rounds; ++round) {
      const std::int64_t reached = try_beside(speeds_.base_loads(time), allowed, most_exchanges);
      if (reached <= allowed || reached == time) break;
      time = reached;
    }
    return std::move(*best_);
  }

 private:
  std::int64_t try_beside(std::vector<std::int64_t> base, std::int64_t goal, std::size_t most_exchanges) {
    space_.base_loads = std::move(base);
    Arrangement found = arrange_beside(loads_, space_, goal, most_exchanges);
    const std::int64_t time = least_time(found.to_placement(0), loads_, speeds_);
    if (!best_ || time <= least_) {
      best_ = std::move(found);
      least_ = time;
    }
    return time;
  }

  std::span<const std::int64_t> loads_;
  PackSpace space_;
  const RankSpeeds& speeds_;
  std::optional<Arrangement> best_;
  std::int64_t least_ = 0;
};

}  // namespace

Arrangement arrange(std::span<const std::int64_t> loads, const SlotSpace& space, const PlanOptions& options) {
  const std::vector<std::size_t> slots = usable_slots(space, loads.size());
  const std::int64_t total = checked_total(loads, loads.size(), "plan");
  const RankSpeeds speeds(space.slowness, slots.size());
  const std::int64_t goal = speeds.allowed_time(total, options.target);
  const PackSpace pack_space{space.topology, slots, std::vector<std::int64_t>(slots.size(), 0)};
  if (speeds.are_equal()) return arrange_beside(loads, pack_space, goal, options.most_exchanges);
  return SpeedPlan(loads, pack_space, speeds)
      .run(goal, largest_allowed(total, options.target, slots.size()), options.most_exchanges);
}

Placement plan_placement(std::span<const std::int64_t> loads, const SlotSpace& space,
                         const PlanOptions& options) {
  return arrange(loads, space, options).to_placement(space.epoch);
}

std::size_t count_arrivals(const Placement& from, const Placement& to) {
  std::size_t arrivals = 0;
  std::vector<bool> is_there(to.num_experts());
  for (std::size_t rank = 0; rank < to.num_ranks(); ++rank) {
    std::fill(is_there.begin(), is_there.end(), false);
    for (const ExpertId expert : from.experts_of(rank_at(rank))) is_there[index(expert)] = true;
    for (const ExpertId expert : to.experts_of(rank_at(rank))) {
      if (!is_there[index(expert)]) ++arrivals;
      is_there[index(expert)] = true;
    }
  }
  return arrivals;
}

std::size_t count_duplicates(const Placement& placement) {
  std::size_t duplicates = 0;
  for (std::size_t expert = 0; expert < placement.num_experts(); ++expert) {
    const std::span<const Slot> slots = placement.slots_of(expert_at(expert));
    for (std::size_t i = 1; i < slots.size(); ++i) {
      if (slots[i].rank == slots[i - 1].rank) ++duplicates;
    }
  }
  return duplicates;
}

}  // namespace moewe
