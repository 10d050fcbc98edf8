#include "placement/packing.hpp"

#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <functional>
#include <numeric>
#include <queue>
#include <utility>

#include "comm/error.hpp"

namespace moewe {
namespace {

/// Load per copy, compared without division; by number of copies and expert where it is equal.
struct PerCopy {
  std::int64_t load;
  std::int64_t copies;
  std::uint32_t expert;

  bool is_before(const PerCopy& other) const {
    const std::int64_t mine = load * other.copies;
    const std::int64_t others = other.load * copies;
    if (mine != others) return mine > others;
    if (copies != other.copies) return copies < other.copies;
    return expert < other.expert;
  }
  bool operator<(const PerCopy& other) const { return other.is_before(*this); }  // for heaps

  std::int64_t share() const { return load / copies; }
};

std::vector<PerCopy> by_load_per_copy(std::span<const std::int64_t> loads,
                                      const std::vector<std::uint32_t>& copies) {
  std::vector<PerCopy> order;
  for (std::uint32_t expert = 0; expert < loads.size(); ++expert) {
    order.push_back({loads[expert], copies[expert], expert});
  }
  std::sort(order.begin(), order.end(), [](const PerCopy& a, const PerCopy& b) { return a.is_before(b); });
  return order;
}

class Packer {
 public:
  Packer(std::span<const std::int64_t> loads, const PackSpace& space)
      : topology_(space.topology),
        arrangement_(loads.size(), space.slots_per_rank),
        rank_loads_(space.base_loads),
        nodes_(topology_.num_nodes()),
        on_node_(topology_.num_nodes()),
        shares_(loads.size(), 0) {
    arrangement_.set_base_loads(space.base_loads);
    for (std::uint32_t rank = 0; rank < rank_loads_.size(); ++rank) {
      next_slot_.push_back(arrangement_.slots_begin(rank));
      offer(rank);
    }
  }

  void place(const PerCopy& expert) {
    std::fill(on_node_.begin(), on_node_.end(), 0);
    taken_.clear();
    for (std::int64_t copy = 0; copy < expert.copies; ++copy) {
      if (!place_one(expert) && !make_room(expert)) break;
    }
    for (const std::uint32_t rank : taken_) offer(rank);
    shares_[expert.expert] = expert.share();
  }

  /// Gives slots that are left to the first experts of `order` that the rank does not hold.
  Arrangement finish(const std::vector<PerCopy>& order) {
    for (std::uint32_t rank = 0; rank < next_slot_.size(); ++rank) {
      for (std::size_t i = 0; has_room(rank); ++i) {
        if (!arrangement_.holds(rank, order[i].expert)) arrangement_.put(next_slot_[rank]++, order[i].expert);
      }
    }
    return std::move(arrangement_);
  }

 private:
  using Offer = std::pair<std::int64_t, std::uint32_t>;  // load, rank
  using Offers = std::priority_queue<Offer, std::vector<Offer>, std::greater<>>;

  bool has_room(std::uint32_t rank) const { return next_slot_[rank] < arrangement_.slots_end(rank); }

  void offer(std::uint32_t rank) {
    if (has_room(rank)) nodes_[topology_.node_of(rank_at(rank))].emplace(rank_loads_[rank], rank);
  }

  /// Or num_nodes.
  std::size_t best_node() const {
    std::size_t best = nodes_.size();
    for (std::size_t node = 0; node < nodes_.size(); ++node) {
      if (nodes_[node].empty()) continue;
      if (best == nodes_.size() ||
          std::pair(on_node_[node], nodes_[node].top()) < std::pair(on_node_[best], nodes_[best].top())) {
        best = node;
      }
    }
    return best;
  }

  void put(std::uint32_t rank, std::uint32_t expert, std::int64_t share) {
    arrangement_.put(next_slot_[rank]++, expert);
    rank_loads_[rank] += share;
  }

  bool place_one(const PerCopy& expert) {
    const std::size_t node = best_node();
    if (node == nodes_.size()) return false;
    const std::uint32_t rank = nodes_[node].top().second;
    nodes_[node].pop();
    ++on_node_[node];
    put(rank, expert.expert, expert.share());
    taken_.push_back(rank);
    return true;
  }

  /// All ranks with room hold the expert: one of them takes the nearest load of another rank, which takes the
  /// expert.
  bool make_room(const PerCopy& expert) {
    std::int64_t least = -1;
    std::pair<std::uint32_t, std::uint32_t> found{};  // slot that is given up, rank that takes what is in it
    for (const std::uint32_t rank : taken_) {
      if (!has_room(rank)) continue;
      for (std::uint32_t slot = 0; slot < arrangement_.num_slots(); ++slot) {
        if (!may_move(slot, rank, expert.expert)) continue;
        const std::int64_t difference = std::abs(shares_[arrangement_.expert_in(slot)] - expert.share());
        if (least >= 0 && difference >= least) continue;
        least = difference;
        found = {slot, rank};
      }
    }
    if (least >= 0) move(found.first, found.second, expert);
    return least >= 0;
  }

  bool may_move(std::uint32_t slot, std::uint32_t rank, std::uint32_t expert) const {
    return arrangement_.is_single(slot) && arrangement_.expert_in(slot) != expert &&
           !arrangement_.holds(arrangement_.rank_of(slot), expert) && arrangement_.rank_of(slot) != rank;
  }

  void move(std::uint32_t slot, std::uint32_t rank, const PerCopy& expert) {
    const std::uint32_t moved = arrangement_.expert_in(slot);
    arrangement_.clear(slot);
    put(rank, moved, shares_[moved]);
    arrangement_.put(slot, expert.expert);
    rank_loads_[arrangement_.rank_of(slot)] += expert.share() - shares_[moved];
  }

  const Topology& topology_;
  Arrangement arrangement_;
  std::vector<std::int64_t> rank_loads_;
  std::vector<std::uint32_t> next_slot_;  // [ranks] the first empty one
  std::vector<Offers> nodes_;             // ranks with room, but those in taken_
  std::vector<std::size_t> on_node_;      // copies of the expert that is being placed
  std::vector<std::uint32_t> taken_;      // ranks that hold it
  std::vector<std::int64_t> shares_;      // [experts] per copy
};

}  // namespace

std::vector<std::uint32_t> count_copies(std::span<const std::int64_t> loads, std::size_t num_slots,
                                        std::size_t most) {
  std::vector<std::uint32_t> copies(loads.size(), 1);
  if (most < 2 || num_slots == loads.size()) return copies;
  std::vector<PerCopy> first;
  for (std::uint32_t expert = 0; expert < loads.size(); ++expert) first.push_back({loads[expert], 1, expert});
  std::priority_queue<PerCopy> heaviest(std::less<PerCopy>(), std::move(first));
  for (std::size_t slot = loads.size(); slot < num_slots && !heaviest.empty(); ++slot) {
    PerCopy expert = heaviest.top();
    heaviest.pop();
    copies[expert.expert] = static_cast<std::uint32_t>(++expert.copies);
    if (copies[expert.expert] < most) heaviest.push(expert);
  }
  return copies;
}

std::vector<std::size_t> usable_slots(const SlotSpace& space, std::size_t num_experts) {
  if (space.slots_per_rank.size() != space.topology.num_ranks()) {
    throw InvalidInput(fmt::format("plan: slots of {} ranks for a topology of {}",
                                   space.slots_per_rank.size(), space.topology.num_ranks()));
  }
  std::vector<std::size_t> slots = space.slots_per_rank;
  for (std::size_t& of_rank : slots) of_rank = std::min(of_rank, num_experts);
  const std::size_t total = std::accumulate(slots.begin(), slots.end(), std::size_t{0});
  if (total < num_experts) {
    throw InvalidInput(fmt::format("plan: {} slots on {} ranks for {} experts, which need one each", total,
                                   slots.size(), num_experts));
  }
  return slots;
}

Arrangement pack(std::span<const std::int64_t> loads, const PackSpace& space) {
  const std::span<const std::size_t> slots_per_rank = space.slots_per_rank;
  const std::size_t num_slots = std::accumulate(slots_per_rank.begin(), slots_per_rank.end(), std::size_t{0});
  const auto ranks = std::count_if(slots_per_rank.begin(), slots_per_rank.end(),
                                   [](std::size_t slots) { return slots > 0; });
  const std::vector<PerCopy> order =
      by_load_per_copy(loads, count_copies(loads, num_slots, static_cast<std::size_t>(ranks)));
  Packer packer(loads, space);
  for (const PerCopy& expert : order) packer.place(expert);
  return packer.finish(order);
}

}  // namespace moewe
