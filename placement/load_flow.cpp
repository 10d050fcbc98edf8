#include "placement/load_flow.hpp"

#include <algorithm>

namespace moewe {
namespace {

constexpr std::int64_t room_factor =
    2;  // a search for room ends when it has found so many times what it needs

}  // namespace

LoadFlow::LoadFlow(const Arrangement& arrangement)
    : arrangement_(arrangement), levels_(arrangement.num_ranks()), arcs_(arrangement.num_ranks()) {
  queue_.reserve(arrangement.num_ranks());
  reached_.reserve(arrangement.num_ranks());
  path_.reserve(arrangement.num_ranks());
  by_load_.reserve(arrangement.num_ranks());
  replicated_.reserve(arrangement.num_experts());
}

void LoadFlow::fill(FlowState& state, std::span<const std::int64_t> loads) {
  state.rank_loads.assign(arrangement_.base_loads().begin(), arrangement_.base_loads().end());
  state.shares.assign(arrangement_.num_slots(), 0);
  replicated_.clear();
  for (std::uint32_t expert = 0; expert < loads.size(); ++expert) {
    if (arrangement_.num_copies(expert) > 1) {
      replicated_.push_back(expert);
    } else {
      state.rank_loads[arrangement_.rank_of(arrangement_.first_copy(expert))] += loads[expert];
    }
  }
  std::sort(replicated_.begin(), replicated_.end(), [&](std::uint32_t a, std::uint32_t b) {
    return loads[a] != loads[b] ? loads[a] > loads[b] : a < b;
  });
  for (const std::uint32_t expert : replicated_) pour(state, expert, loads[expert]);
  for (const std::uint32_t expert : replicated_) {
    arrangement_.for_each_copy(expert, [&](std::uint32_t slot) {
      state.rank_loads[arrangement_.rank_of(slot)] -= state.shares[slot];
      state.shares[slot] = 0;
    });
    pour(state, expert, loads[expert]);
  }
}

void LoadFlow::pour(FlowState& state, std::uint32_t expert, std::int64_t load) {
  by_load_.clear();
  arrangement_.for_each_copy(expert, [&](std::uint32_t slot) {
    by_load_.emplace_back(state.rank_loads[arrangement_.rank_of(slot)], slot);
  });
  std::sort(by_load_.begin(), by_load_.end());
  std::int64_t below = load;  // the load and that of the ranks that it reaches
  std::size_t used = 0;
  while (used < by_load_.size()) {
    const auto next = static_cast<std::int64_t>(used) * by_load_[used].first;
    if (used > 0 && below <= next) break;
    below += by_load_[used++].first;
  }
  const auto parts = static_cast<std::int64_t>(used);
  const std::int64_t level = below / parts;
  std::int64_t rest = below % parts;
  for (std::size_t i = 0; i < used; ++i) {
    const auto& [rank_load, slot] = by_load_[i];
    const std::int64_t share = level - rank_load + (rest-- > 0 ? 1 : 0);
    if (by_load_.size() > 1) state.shares[slot] += share;
    state.rank_loads[arrangement_.rank_of(slot)] += share;
  }
}

void LoadFlow::reach_from(const FlowState& state, std::uint32_t rank, std::int64_t capacity) {
  for (const std::uint32_t slot : arrangement_.replicas_on(rank)) {
    if (state.shares[slot] == 0) continue;
    for (std::uint32_t copy = arrangement_.next_copy(slot); copy != slot;
         copy = arrangement_.next_copy(copy)) {
      const std::uint32_t other = arrangement_.rank_of(copy);
      if (levels_[other] >= 0) continue;
      reach(other, levels_[rank] + 1);
      room_ += std::max<std::int64_t>(0, capacity - state.rank_loads[other]);
    }
  }
}

void LoadFlow::reach(std::uint32_t rank, std::int32_t level) {
  levels_[rank] = level;
  arcs_[rank] = {0, Arrangement::nobody};
  queue_.push_back(rank);
}

bool LoadFlow::find_levels(const FlowState& state, std::int64_t capacity) {
  std::fill(levels_.begin(), levels_.end(), -1);
  queue_.clear();
  room_ = 0;
  std::int64_t excess = 0;
  for (std::uint32_t rank = 0; rank < levels_.size(); ++rank) {
    if (state.rank_loads[rank] <= capacity) continue;
    reach(rank, 0);
    excess += state.rank_loads[rank] - capacity;
  }
  num_overloaded_ = queue_.size();
  for (std::size_t i = 0; i < queue_.size() && room_ < room_factor * excess; ++i) {
    reach_from(state, queue_[i], capacity);
  }
  return room_ > 0;
}

bool LoadFlow::find_arc(const FlowState& state, std::uint32_t rank) {
  Arc& arc = arcs_[rank];
  const std::span<const std::uint32_t> replicas = arrangement_.replicas_on(rank);
  for (; arc.replica < replicas.size(); ++arc.replica, arc.to = Arrangement::nobody) {
    arc.from = replicas[arc.replica];
    if (state.shares[arc.from] == 0) continue;
    if (arc.to == Arrangement::nobody) arc.to = arrangement_.next_copy(arc.from);
    for (; arc.to != arc.from; arc.to = arrangement_.next_copy(arc.to)) {
      if (levels_[arrangement_.rank_of(arc.to)] == levels_[rank] + 1) return true;
    }
  }
  return false;
}

bool LoadFlow::find_path(const FlowState& state, std::uint32_t rank, std::int64_t capacity) {
  path_.clear();
  while (state.rank_loads[rank] >= capacity) {
    if (find_arc(state, rank)) {
      path_.push_back(rank);
      rank = arrangement_.rank_of(arcs_[rank].to);
      continue;
    }
    if (path_.empty()) return false;
    rank = path_.back();
    path_.pop_back();
    arcs_[rank].to = arrangement_.next_copy(arcs_[rank].to);
  }
  return true;
}

void LoadFlow::push(FlowState& state, std::uint32_t rank, std::int64_t capacity) {
  const std::uint32_t last = arrangement_.rank_of(arcs_[path_.back()].to);
  std::int64_t amount = std::min(state.rank_loads[rank] - capacity, capacity - state.rank_loads[last]);
  for (const std::uint32_t step : path_) amount = std::min(amount, state.shares[arcs_[step].from]);
  for (const std::uint32_t step : path_) {
    state.shares[arcs_[step].from] -= amount;
    state.shares[arcs_[step].to] += amount;
  }
  state.rank_loads[rank] -= amount;
  state.rank_loads[last] += amount;
}

std::int64_t LoadFlow::route(FlowState& state, std::int64_t capacity) {
  while (find_levels(state, capacity)) {
    for (std::size_t i = 0; i < num_overloaded_; ++i) {
      const std::uint32_t rank = queue_[i];
      while (state.rank_loads[rank] > capacity && find_path(state, rank, capacity)) {
        push(state, rank, capacity);
      }
    }
  }
  std::int64_t left = 0;
  for (std::size_t i = 0; i < num_overloaded_; ++i) left += state.rank_loads[queue_[i]] - capacity;
  if (left > 0) reached_ = queue_;
  return left;
}

std::int64_t LoadFlow::minimise(FlowState& state, std::int64_t at_least, std::int64_t enough) {
  while (at_least < enough && route(state, at_least) > 0) at_least = mean_of(state, reached_);
  return at_least;
}

void LoadFlow::leave(FlowState& state, std::uint32_t slot) const {
  std::uint32_t best = arrangement_.next_copy(slot);
  for (std::uint32_t copy = best; copy != slot; copy = arrangement_.next_copy(copy)) {
    const auto load_of = [&](std::uint32_t s) { return state.rank_loads[arrangement_.rank_of(s)]; };
    if (load_of(copy) < load_of(best)) best = copy;
  }
  state.rank_loads[arrangement_.rank_of(slot)] -= state.shares[slot];
  state.rank_loads[arrangement_.rank_of(best)] += state.shares[slot];
  state.shares[best] += state.shares[slot];
  state.shares[slot] = 0;
  if (arrangement_.next_copy(best) == slot && arrangement_.next_copy(slot) == best) state.shares[best] = 0;
}

void LoadFlow::join(FlowState& state, std::uint32_t expert, std::int64_t load) const {
  if (arrangement_.num_copies(expert) == 1) state.shares[arrangement_.first_copy(expert)] = load;
}

std::int64_t mean_of(const FlowState& state, std::span<const std::uint32_t> ranks) {
  std::int64_t sum = 0;
  for (const std::uint32_t rank : ranks) sum += state.rank_loads[rank];
  const auto count = static_cast<std::int64_t>(ranks.size());
  return (sum + count - 1) / count;
}

}  // namespace moewe
