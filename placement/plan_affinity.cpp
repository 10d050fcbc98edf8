#include "placement/plan_affinity.hpp"

#include <algorithm>
#include <tuple>

#include "comm/error.hpp"
#include "placement/arrangement.hpp"
#include "placement/load_flow.hpp"
#include "placement/loads.hpp"
#include "placement/speeds.hpp"

namespace moewe {
namespace {

constexpr std::int64_t parts = 1024;                      // of one expert, over the places where it is
constexpr std::size_t most_tried = 128;                   // exactly, in a round
constexpr std::size_t most_work = std::size_t{1} << 27U;  // pairs of experts that are looked at

/// Places are nodes, or ranks where there is one node.
std::vector<std::size_t> place_of_ranks(const Topology& topology) {
  std::vector<std::size_t> places;
  for (std::size_t rank = 0; rank < topology.num_ranks(); ++rank)
    places.push_back(topology.num_nodes() > 1 ? topology.node_of(rank_at(rank)) : rank);
  return places;
}

class AffinitySearch {
 public:
  AffinitySearch(Arrangement& arrangement, std::span<const std::int64_t> loads, const CoActivation& together,
                 std::vector<std::size_t> place_of_rank)
      : arrangement_(arrangement),
        loads_(loads),
        together_(together),
        place_of_rank_(std::move(place_of_rank)),
        num_places_(*std::max_element(place_of_rank_.begin(), place_of_rank_.end()) + 1),
        flow_(arrangement),
        friends_(loads.size() * num_places_, 0) {}

  void run(std::int64_t capacity, std::size_t most_exchanges) {
    capacity_ = capacity;
    flow_.fill(state_, loads_);
    flow_.route(state_, capacity_);
    list_singles();
    sum_friends();
    const std::size_t rounds = most_work / (singles_.size() * singles_.size() + 1) + 1;
    for (std::size_t round = 0; round < std::min(rounds, most_exchanges); ++round) {
      if (!improve()) break;
    }
  }

 private:
  struct Exchange {
    std::int64_t gain;
    std::uint32_t a;  ///< slot
    std::uint32_t b;
    bool operator<(const Exchange& other) const {
      return std::tie(other.gain, a, b) < std::tie(gain, other.a, other.b);
    }
  };

  std::size_t place_of(std::uint32_t slot) const { return place_of_rank_[arrangement_.rank_of(slot)]; }
  std::int64_t& friends(std::size_t expert, std::size_t place) {
    return friends_[expert * num_places_ + place];
  }

  void list_singles() {
    for (std::uint32_t slot = 0; slot < arrangement_.num_slots(); ++slot)
      if (arrangement_.is_single(slot)) singles_.push_back(slot);
  }

  void sum_friends() {
    for (std::uint32_t slot = 0; slot < arrangement_.num_slots(); ++slot) {
      if (!arrangement_.is_copy(slot)) continue;
      const std::uint32_t expert = arrangement_.expert_in(slot);
      const bool is_all_here = arrangement_.is_single(slot) || loads_[expert] == 0;
      add_friend(
          expert, place_of(slot),
          is_all_here ? parts : multiply_and_divide(parts, state_.shares[slot], loads_[expert]).quotient);
    }
  }

  /// So much of `expert` comes to a place.
  void add_friend(std::uint32_t expert, std::size_t place, std::int64_t share) {
    for (std::size_t other = 0; other < loads_.size(); ++other)
      friends(other, place) += together_.of(expert, other) * share;
  }

  std::int64_t gain(std::uint32_t a, std::uint32_t b) {
    const std::uint32_t of_a = arrangement_.expert_in(a);
    const std::uint32_t of_b = arrangement_.expert_in(b);
    return friends(of_a, place_of(b)) - friends(of_a, place_of(a)) + friends(of_b, place_of(a)) -
           friends(of_b, place_of(b)) - 2 * parts * together_.of(of_a, of_b);
  }

  void list_exchanges() {
    exchanges_.clear();
    for (std::size_t i = 0; i < singles_.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        const Exchange exchange{gain(singles_[j], singles_[i]), singles_[j], singles_[i]};
        if (exchange.gain >= parts && place_of(exchange.a) != place_of(exchange.b))
          exchanges_.push_back(exchange);
      }
    }
    const auto end =
        exchanges_.begin() + static_cast<std::ptrdiff_t>(std::min(most_tried, exchanges_.size()));
    std::partial_sort(exchanges_.begin(), end, exchanges_.end());
    exchanges_.erase(end, exchanges_.end());
  }

  /// Whether ranks stay below the capacity; then it is done.
  bool try_exchange(const Exchange& exchange) {
    const std::int64_t moved =
        loads_[arrangement_.expert_in(exchange.a)] - loads_[arrangement_.expert_in(exchange.b)];
    trial_ = state_;
    trial_.rank_loads[arrangement_.rank_of(exchange.a)] -= moved;
    trial_.rank_loads[arrangement_.rank_of(exchange.b)] += moved;
    if (flow_.route(trial_, capacity_) > 0) return false;
    std::swap(state_, trial_);
    return true;
  }

  bool improve() {
    list_exchanges();
    for (const Exchange& exchange : exchanges_) {
      if (!try_exchange(exchange)) continue;
      const std::uint32_t of_a = arrangement_.expert_in(exchange.a);
      const std::uint32_t of_b = arrangement_.expert_in(exchange.b);
      add_friend(of_a, place_of(exchange.a), -parts);
      add_friend(of_a, place_of(exchange.b), parts);
      add_friend(of_b, place_of(exchange.b), -parts);
      add_friend(of_b, place_of(exchange.a), parts);
      arrangement_.exchange(exchange.a, exchange.b);
      return true;
    }
    return false;
  }

  Arrangement& arrangement_;
  std::span<const std::int64_t> loads_;
  const CoActivation& together_;
  std::vector<std::size_t> place_of_rank_;
  std::size_t num_places_;
  LoadFlow flow_;
  FlowState state_;
  FlowState trial_;
  std::int64_t capacity_ = 0;
  std::vector<std::uint32_t> singles_;  // slots
  std::vector<std::int64_t> friends_;   // [experts][places] how often experts there are chosen with one
  std::vector<Exchange> exchanges_;     // the best
};

}  // namespace

Placement bring_together(const Placement& placement, const Topology& topology,
                         std::span<const std::int64_t> loads, const CoActivation& together,
                         const AffinityOptions& options) {
  const std::int64_t total = checked_total(loads, placement.num_experts(), "affinity");
  if (topology.num_ranks() != placement.num_ranks() || together.num_experts() != placement.num_experts())
    throw InvalidInput(
        "affinity: placement, topology and co-activation are not of the same ranks and experts");
  const RankSpeeds speeds(options.slowness, placement.num_ranks());
  const std::int64_t capacity =
      std::max(speeds.allowed_time(total, options.target), least_time(placement, loads, speeds));
  Arrangement arrangement(placement);
  arrangement.set_base_loads(speeds.base_loads(capacity));
  AffinitySearch(arrangement, loads, together, place_of_ranks(topology))
      .run(capacity, options.most_exchanges);
  return arrangement.to_placement(placement.epoch());
}

}  // namespace moewe
