#include "placement/slot_search.hpp"

#include <algorithm>
#include <array>
#include <tuple>

namespace moewe {
namespace {

constexpr std::size_t all = std::numeric_limits<std::size_t>::max();

}  // namespace

SlotCosts arrival_costs(const Placement& from) {
  SlotCosts costs{std::vector<std::uint8_t>(from.num_ranks() * from.num_experts(), 1), from.num_experts()};
  for (std::size_t rank = 0; rank < from.num_ranks(); ++rank) {
    for (const ExpertId expert : from.experts_of(rank_at(rank))) {
      costs.values[rank * from.num_experts() + index(expert)] = 0;
    }
  }
  return costs;
}

SlotSearch::SlotSearch(Arrangement& arrangement, std::span<const std::int64_t> loads, const SlotCosts& costs)
    : arrangement_(arrangement),
      loads_(loads),
      costs_(costs),
      flow_(arrangement),
      is_hot_(arrangement.num_ranks()) {
  flow_.fill(state_, loads_);
}

std::int64_t SlotSearch::run(const SlotLimits& limits) {
  constexpr std::array<Effort, 3> efforts{{{6, 12}, {40, 128}, {all, 256}}};
  excess_ = flow_.route(state_, limits.capacity);
  for (std::size_t tried = 0; excess_ > 0 && tried < efforts.size();) {
    tried = improve(limits, efforts[tried]) ? 0 : tried + 1;
  }
  return excess_;
}

bool SlotSearch::is_all_hot(std::uint32_t expert) const {
  bool all_hot = arrangement_.num_copies(expert) > 0;
  arrangement_.for_each_copy(
      expert, [&](std::uint32_t slot) { all_hot = all_hot && is_hot_[arrangement_.rank_of(slot)]; });
  return all_hot;
}

void SlotSearch::list_hot(std::size_t most) {
  std::fill(is_hot_.begin(), is_hot_.end(), false);
  for (const std::uint32_t rank : flow_.reached()) is_hot_[rank] = true;
  hot_.clear();
  for (std::uint32_t expert = 0; expert < loads_.size(); ++expert) {
    if (loads_[expert] > 0 && is_all_hot(expert)) hot_.push_back(expert);
  }
  const auto end = hot_.begin() + static_cast<std::ptrdiff_t>(std::min(most, hot_.size()));
  std::partial_sort(hot_.begin(), end, hot_.end(), [&](std::uint32_t a, std::uint32_t b) {
    return loads_[a] != loads_[b] ? loads_[a] > loads_[b] : a < b;
  });
  hot_.erase(end, hot_.end());
}

void SlotSearch::consider(const Move& move, std::size_t first, std::size_t most, const SlotLimits& limits) {
  if (move.relief <= 0 || (move.cost > 0 && move.cost > limits.most_cost - cost_)) return;
  if (moves_.size() - first < most) {
    moves_.push_back(move);
    return;
  }
  std::size_t worst = first;
  for (std::size_t i = first + 1; i < moves_.size(); ++i) {
    if (moves_[i].score() < moves_[worst].score()) worst = i;
  }
  if (move.score() > moves_[worst].score()) moves_[worst] = move;
}

void SlotSearch::list_copies_to(std::size_t rank, const SlotLimits& limits) {
  const std::int64_t room = limits.capacity - state_.rank_loads[rank];
  const std::size_t first = moves_.size();
  for (std::uint32_t to = arrangement_.slots_begin(rank); to < arrangement_.slots_end(rank); ++to) {
    if (arrangement_.is_single(to)) continue;
    const std::int64_t share = state_.shares[to];
    const std::int64_t saved =
        arrangement_.is_copy(to) ? costs_.of(rank, arrangement_.expert_in(to)) : std::int64_t{0};
    for (const std::uint32_t expert : hot_) {
      const std::int64_t relief = std::min({excess_, loads_[expert], room + share}) - share * 3 / 10;
      if (relief <= 0) continue;
      const std::int64_t cost = costs_.of(rank, expert) - saved;
      consider({to, arrangement_.first_copy(expert), expert, false, cost, relief}, first,
               is_exhaustive_ ? all : 2, limits);
    }
  }
}

void SlotSearch::list_exchanges_with(std::size_t rank, const SlotLimits& limits) {
  const std::int64_t room = limits.capacity - state_.rank_loads[rank];
  const std::size_t first = moves_.size();
  for (std::uint32_t to = arrangement_.slots_begin(rank); to < arrangement_.slots_end(rank); ++to) {
    if (!arrangement_.is_single(to)) continue;
    const std::uint32_t back = arrangement_.expert_in(to);
    for (const std::uint32_t expert : hot_) {
      const std::int64_t relief = std::min({excess_, loads_[expert] - loads_[back], room});
      const bool has_found = !is_exhaustive_ && moves_.size() > first;
      if (relief <= (has_found ? moves_.back().score() : 0) || arrangement_.num_copies(expert) != 1) continue;
      const std::uint32_t from = arrangement_.first_copy(expert);
      const std::uint32_t other = arrangement_.rank_of(from);
      const std::int64_t cost =
          costs_.of(rank, expert) - costs_.of(rank, back) + costs_.of(other, back) - costs_.of(other, expert);
      consider({to, from, expert, true, cost, relief}, first, is_exhaustive_ ? all : 1, limits);
    }
  }
}

void SlotSearch::list_moves(const SlotLimits& limits) {
  moves_.clear();
  for (std::size_t rank = 0; rank < is_hot_.size(); ++rank) {
    if (is_hot_[rank] || state_.rank_loads[rank] >= limits.capacity) continue;
    list_copies_to(rank, limits);
    list_exchanges_with(rank, limits);
  }
  std::stable_sort(moves_.begin(), moves_.end(),
                   [](const Move& a, const Move& b) { return a.score() > b.score(); });
}

bool SlotSearch::improve(const SlotLimits& limits, const Effort& effort) {
  is_exhaustive_ = effort.experts == all;
  list_hot(effort.experts);
  list_moves(limits);
  if (moves_.size() > effort.trials) moves_.resize(effort.trials);
  const Move* best = nullptr;
  for (Move& move : moves_) {
    if (limits.is_quick && best != nullptr && 2 * best->score() >= move.score()) break;
    move.relief = relief_of(move, limits.capacity);
    if (move.relief <= 0 || (move.cost > 0 && move.relief <= limits.price * move.cost)) continue;
    if (best == nullptr || move.score() > best->score()) best = &move;
    if (move.relief == excess_ && move.cost <= 1) break;  // nothing is cheaper
  }
  if (best != nullptr) {
    cost_ += best->cost;
    change(state_, *best);
  }
  excess_ = flow_.route(state_, limits.capacity);
  return best != nullptr;
}

std::int64_t SlotSearch::relief_of(const Move& move, std::int64_t capacity) {
  trial_ = state_;
  const std::uint32_t replaced = arrangement_.expert_in(move.to);
  const bool was_copy = arrangement_.is_copy(move.to);
  change(trial_, move);
  const std::int64_t excess = flow_.route(trial_, capacity);
  undo(move, replaced, was_copy);
  return excess_ - excess;
}

void SlotSearch::change(FlowState& state, const Move& move) {
  const std::uint32_t replaced = arrangement_.expert_in(move.to);
  if (move.is_exchange) {
    const std::int64_t moved = loads_[move.expert] - loads_[replaced];
    state.rank_loads[arrangement_.rank_of(move.from)] -= moved;
    state.rank_loads[arrangement_.rank_of(move.to)] += moved;
    arrangement_.exchange(move.from, move.to);
    return;
  }
  if (arrangement_.is_replica(move.to)) flow_.leave(state, move.to);
  if (replaced != Arrangement::nobody) arrangement_.clear(move.to);
  flow_.join(state, move.expert, loads_[move.expert]);
  arrangement_.put(move.to, move.expert);
}

void SlotSearch::undo(const Move& move, std::uint32_t replaced, bool was_copy) {
  if (move.is_exchange) {
    arrangement_.exchange(move.from, move.to);
    return;
  }
  arrangement_.clear(move.to);
  if (replaced == Arrangement::nobody) return;
  if (was_copy) {
    arrangement_.put(move.to, replaced);
  } else {
    arrangement_.put_aside(move.to, replaced);
  }
}

}  // namespace moewe
