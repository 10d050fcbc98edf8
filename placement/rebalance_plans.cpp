#include "placement/rebalance_plans.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "placement/placed_split.hpp"
#include "placement/plan.hpp"
#include "placement/plan_incremental.hpp"
#include "placement/slot_order.hpp"
#include "placement/speeds.hpp"

namespace moewe {
namespace {

constexpr Millionths one = 1'000'000;

Placement next_epoch_of(const Placement& placement, const std::vector<Millionths>& slowness) {
  std::vector<std::vector<ExpertId>> experts;
  for (std::size_t rank = 0; rank < placement.num_ranks(); ++rank) {
    const auto held = placement.experts_of(rank_at(rank));
    experts.emplace_back(held.begin(), held.end());
  }
  return Placement(placement.epoch() + 1, placement.num_experts(), std::move(experts))
      .with_slowness(slowness);
}

}  // namespace

std::vector<Placement> candidate_plans(const Placement& current, std::span<const std::int64_t> loads,
                                       const PlanTarget& target) {
  const std::vector<Millionths>& slowness = target.slowness;
  const std::int64_t total = std::accumulate(loads.begin(), loads.end(), std::int64_t{0});
  const Millionths wanted = one + (target.stop - one) / 2;
  std::vector<Placement> found;
  if (slowness != current.slowness()) found.push_back(next_epoch_of(current, slowness));
  IncrementalOptions incremental;
  incremental.target = wanted;
  incremental.slowness = slowness;
  found.push_back(plan_incrementally(current, loads, incremental).with_slowness(slowness));
  const RankSpeeds speeds(slowness, current.num_ranks());
  if (time_as_placed(found.back(), loads, slowness) <= speeds.allowed_time(total, target.stop)) return found;
  SlotSpace space = SlotSpace::of(current, target.topology);
  space.slowness = slowness;
  PlanOptions anew;
  anew.target = wanted;
  found.push_back(in_old_slots(current, plan_placement(loads, space, anew)).with_slowness(slowness));
  return found;
}

std::size_t most_arrivals(const Placement& from, const Placement& to) {
  std::size_t most = 0;
  std::vector<bool> is_there(to.num_experts());
  for (std::size_t rank = 0; rank < to.num_ranks(); ++rank) {
    std::fill(is_there.begin(), is_there.end(), false);
    for (const ExpertId expert : from.experts_of(rank_at(rank))) is_there[index(expert)] = true;
    const auto experts = to.experts_of(rank_at(rank));
    const auto arrivals = std::count_if(experts.begin(), experts.end(),
                                        [&](ExpertId expert) { return !is_there[index(expert)]; });
    most = std::max(most, static_cast<std::size_t>(arrivals));
  }
  return most;
}

}  // namespace moewe
