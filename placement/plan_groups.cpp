#include "placement/plan_groups.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>
#include <utility>

#include "comm/error.hpp"
#include "placement/loads.hpp"
#include "placement/packing.hpp"
#include "placement/slot_search.hpp"
#include "placement/speeds.hpp"

namespace moewe {
namespace {

constexpr Millionths one = 1'000'000;

/// As equal as the slots of the nodes allow.
std::vector<std::size_t> groups_per_node(const std::vector<std::size_t>& slots, std::size_t num_groups,
                                         std::size_t size) {
  std::vector<std::size_t> groups(slots.size(), 0);
  for (std::size_t group = 0; group < num_groups; ++group) {
    std::size_t best = slots.size();
    for (std::size_t node = 0; node < slots.size(); ++node) {
      const bool has_room = (groups[node] + 1) * size <= slots[node];
      if (has_room && (best == slots.size() || groups[node] < groups[best])) best = node;
    }
    if (best == slots.size()) {
      throw InvalidInput(fmt::format("plan: {} nodes have not slots enough for {} whole groups of {} experts",
                                     slots.size(), num_groups, size));
    }
    ++groups[best];
  }
  return groups;
}

/// None where ranks are equally fast.
std::vector<Millionths> slowness_of_nodes(const SlotSpace& space) {
  constexpr std::int64_t parts = std::int64_t{1} << 20U;  // of the fastest rank's speed
  const RankSpeeds speeds(space.slowness, space.slots_per_rank.size());
  if (speeds.are_equal()) return {};
  std::vector<std::int64_t> of_node(space.topology.num_nodes(), 0);
  for (std::size_t rank = 0; rank < space.slots_per_rank.size(); ++rank)
    of_node[space.topology.node_of(rank_at(rank))] += speeds.room(rank, parts);
  const std::int64_t fastest = *std::max_element(of_node.begin(), of_node.end());
  std::vector<Millionths> slowness;
  for (const std::int64_t speed : of_node) slowness.push_back(std::min(fastest * one / speed, 1000 * one));
  return slowness;
}

/// The groups as if they were experts, and the nodes as if they were ranks with a slot for each group.
std::vector<std::size_t> choose_homes(std::span<const std::int64_t> loads, const SlotSpace& space,
                                      std::size_t num_groups) {
  const std::size_t size = loads.size() / num_groups;
  std::vector<std::int64_t> group_loads(num_groups, 0);
  for (std::size_t e = 0; e < loads.size(); ++e) group_loads[e / size] += loads[e];
  std::vector<std::size_t> room(space.topology.num_nodes(), 0);
  for (std::size_t rank = 0; rank < space.slots_per_rank.size(); ++rank) {
    room[space.topology.node_of(rank_at(rank))] += space.slots_per_rank[rank];
  }
  const std::vector<std::size_t> groups = groups_per_node(room, num_groups, size);
  const SlotSpace nodes{Topology::one_node(groups.size()), groups, 0, slowness_of_nodes(space)};
  const Placement placement = plan_placement(group_loads, nodes, {.target = 1'000'000});
  std::vector<std::size_t> homes;
  for (std::size_t group = 0; group < num_groups; ++group) {
    homes.push_back(index(placement.slot_of(expert_at(group)).rank));
  }
  return homes;
}

/// One for each expert away from home.
SlotCosts foreign_costs(const SlotSpace& space, const std::vector<std::size_t>& homes,
                        std::size_t num_experts) {
  SlotCosts costs{{}, num_experts};
  for (std::size_t rank = 0; rank < space.slots_per_rank.size(); ++rank) {
    for (std::size_t e = 0; e < num_experts; ++e) {
      const bool is_home = homes[e * homes.size() / num_experts] == space.topology.node_of(rank_at(rank));
      costs.values.push_back(is_home ? 0 : 1);
    }
  }
  return costs;
}

/// A plan of each node for the experts at home there.
class NodePlans {
 public:
  NodePlans(std::span<const std::int64_t> loads, const SlotSpace& space,
            const std::vector<std::size_t>& homes)
      : loads_(loads),
        space_(space),
        homes_(homes),
        arrangement_(loads.size(), usable_slots(space, loads.size())) {
    for (std::size_t node = 0; node < space.topology.num_nodes(); ++node) plan(node);
  }

  Arrangement take() { return std::move(arrangement_); }

 private:
  void plan(std::size_t node) {
    std::vector<std::size_t> local;
    std::vector<std::int64_t> loads;
    for (std::size_t e = 0; e < loads_.size(); ++e) {
      if (homes_[e * homes_.size() / loads_.size()] != node) continue;
      local.push_back(e);
      loads.push_back(loads_[e]);
    }
    std::vector<std::size_t> ranks;
    std::vector<std::size_t> slots;
    std::vector<Millionths> slowness;
    for (std::size_t rank = 0; rank < space_.slots_per_rank.size(); ++rank) {
      if (space_.topology.node_of(rank_at(rank)) != node) continue;
      ranks.push_back(rank);
      slots.push_back(space_.slots_per_rank[rank]);
      if (!space_.slowness.empty()) slowness.push_back(space_.slowness[rank]);
    }
    if (local.empty()) return;
    const Placement placement = plan_placement(loads, {Topology::one_node(ranks.size()), slots, 0, slowness});
    for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
      std::uint32_t slot = arrangement_.slots_begin(ranks[rank]);
      for (const ExpertId e : placement.experts_of(rank_at(rank))) {
        arrangement_.put(slot++, static_cast<std::uint32_t>(local[index(e)]));
      }
    }
  }

  std::span<const std::int64_t> loads_;
  const SlotSpace& space_;
  const std::vector<std::size_t>& homes_;
  Arrangement arrangement_;
};

}  // namespace

Placement plan_with_groups(std::span<const std::int64_t> loads, const SlotSpace& space,
                           const GroupOptions& options) {
  const std::vector<std::size_t> slots = usable_slots(space, loads.size());
  const std::int64_t total = checked_total(loads, loads.size(), "plan");
  if (options.num_groups == 0 || loads.size() % options.num_groups != 0) {
    throw InvalidInput(fmt::format("plan: {} groups for {} experts, which are no whole number each",
                                   options.num_groups, loads.size()));
  }
  const std::vector<std::size_t> homes = choose_homes(loads, space, options.num_groups);
  const SlotCosts costs = foreign_costs(space, homes, loads.size());
  Arrangement arrangement = NodePlans(loads, space, homes).take();
  const RankSpeeds speeds(space.slowness, slots.size());
  const std::int64_t capacity = speeds.allowed_time(total, options.target);
  arrangement.set_base_loads(speeds.base_loads(capacity));
  SlotSearch search(arrangement, loads, costs);
  const auto most = static_cast<std::int64_t>(std::min(options.most_foreign, arrangement.num_slots()));
  search.run({.capacity = capacity, .most_cost = most});
  return arrangement.to_placement(space.epoch);
}

std::vector<std::size_t> home_nodes(const Placement& placement, const Topology& topology,
                                    std::size_t num_groups) {
  std::vector<std::size_t> homes;
  std::vector<std::size_t> experts(topology.num_nodes());
  std::vector<bool> has_slot(topology.num_nodes());
  const std::size_t size = placement.num_experts() / num_groups;
  for (std::size_t group = 0; group < num_groups; ++group) {
    std::fill(experts.begin(), experts.end(), 0);
    for (std::size_t e = group * size; e < (group + 1) * size; ++e) {
      std::fill(has_slot.begin(), has_slot.end(), false);
      for (const Slot& slot : placement.slots_of(expert_at(e))) has_slot[topology.node_of(slot.rank)] = true;
      for (std::size_t node = 0; node < experts.size(); ++node) experts[node] += std::size_t{has_slot[node]};
    }
    homes.push_back(
        static_cast<std::size_t>(std::max_element(experts.begin(), experts.end()) - experts.begin()));
  }
  return homes;
}

std::size_t count_foreign(const Placement& placement, const Topology& topology,
                          std::span<const std::size_t> homes) {
  std::size_t foreign = 0;
  for (std::size_t rank = 0; rank < placement.num_ranks(); ++rank) {
    for (const ExpertId expert : placement.experts_of(rank_at(rank))) {
      const std::size_t home = homes[index(expert) * homes.size() / placement.num_experts()];
      if (home != topology.node_of(rank_at(rank))) ++foreign;
    }
  }
  return foreign;
}

}  // namespace moewe
