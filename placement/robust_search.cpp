#include "placement/robust_search.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "placement/loads.hpp"

namespace moewe {
namespace {

constexpr int moves_per_trial = 32;
constexpr int most_draws = 512;  // most of them are no moves

bool has(std::uint64_t bits, std::size_t k) { return ((bits >> k) & 1U) != 0; }

}  // namespace

RobustSearch::RobustSearch(Arrangement& arrangement, const std::vector<std::vector<std::int64_t>>& scenarios,
                           std::uint64_t seed, RobustLimits limits)
    : arrangement_(arrangement),
      flow_(arrangement),
      draws_(seed),
      scenarios_(scenarios.size()),
      trials_(scenarios.size()),
      loads_(arrangement.num_experts() * scenarios.size()),
      singles_(arrangement.num_ranks() * scenarios.size()),
      is_hot_(arrangement.num_ranks(), 0),
      bounds_(scenarios.size()),
      best_bounds_(scenarios.size()),
      order_(scenarios.size()),
      limits_(std::move(limits)) {
  for (const std::size_t node : limits_.node_of_rank) {
    node_sizes_.resize(std::max(node_sizes_.size(), node + 1));
    ++node_sizes_[node];
  }
  std::iota(order_.begin(), order_.end(), std::size_t{0});
  const auto ranks = static_cast<std::int64_t>(arrangement.num_ranks());
  const std::int64_t base =
      std::accumulate(arrangement.base_loads().begin(), arrangement.base_loads().end(), std::int64_t{0});
  for (std::size_t k = 0; k < scenarios.size(); ++k) {
    for (std::size_t e = 0; e < scenarios[k].size(); ++e) loads_[e * scenarios_.size() + k] = scenarios[k][e];
    means_.push_back(ceil_div(std::accumulate(scenarios[k].begin(), scenarios[k].end(), base), ranks));
    flow_.fill(scenarios_[k].state, scenarios[k]);
    start(k);
  }
  for (std::size_t rank = 0; rank < arrangement.num_ranks(); ++rank) sum_singles(rank);
}

void RobustSearch::start(std::size_t k) {
  Scenario& scenario = scenarios_[k];
  scenario.largest = flow_.minimise(scenario.state, means_[k]);
  scenario.hot.assign(flow_.reached().begin(), flow_.reached().end());
  if (scenario.largest == means_[k]) {
    scenario.hot.resize(arrangement_.num_ranks());
    std::iota(scenario.hot.begin(), scenario.hot.end(), 0U);
  }
  for (const std::uint32_t rank : scenario.hot) is_hot_[rank] |= std::uint64_t{1} << k;
  sum_ += scenario.largest;
}

void RobustSearch::sum_singles(std::size_t rank) {
  const std::size_t num = scenarios_.size();
  const auto sums = singles_.begin() + static_cast<std::ptrdiff_t>(rank * num);
  std::fill_n(sums, num, arrangement_.base_loads()[rank]);
  for (std::uint32_t slot = arrangement_.slots_begin(rank); slot < arrangement_.slots_end(rank); ++slot) {
    if (!arrangement_.is_single(slot)) continue;
    const std::size_t first = arrangement_.expert_in(slot) * num;
    for (std::size_t k = 0; k < num; ++k) singles_[rank * num + k] += loads_[first + k];
  }
}

void RobustSearch::run(std::size_t iterations) {
  for (std::size_t i = 0; i < iterations; ++i) {
    Move best{};
    std::int64_t least = sum_;
    for (int drawn = 0, moves = 0; drawn < most_draws && moves < moves_per_trial; ++drawn) {
      Move move{};
      if (!draw(move) || !is_allowed(move)) continue;
      ++moves;
      const std::int64_t due = limits_.price * std::max<std::int64_t>(move.cost, 0);
      const std::int64_t bounds = bound_sum(move) + due * static_cast<std::int64_t>(scenarios_.size());
      if (bounds >= least) continue;
      least = bounds;
      best = move;
      std::swap(bounds_, best_bounds_);
      best_ = considered_;
    }
    if (least < sum_) try_exactly(best, least);
  }
}

bool RobustSearch::is_allowed(Move& move) {
  move.cost = limits_.costs == nullptr ? 0 : cost_of(move);
  if (move.cost > 0 && move.cost > limits_.most_cost - cost_) return false;
  return move.is_exchange || node_sizes_.size() < 2 || keeps_spread(move);
}

std::int64_t RobustSearch::cost_of(const Move& move) const {
  const std::uint32_t taken = arrangement_.expert_in(move.from);
  const std::uint32_t given = arrangement_.expert_in(move.to);
  const auto cost = [&](std::uint32_t slot, std::uint32_t expert) {
    return limits_.costs->of(arrangement_.rank_of(slot), expert);
  };
  const std::int64_t there = cost(move.to, taken) - cost(move.to, given);
  return move.is_exchange ? there + cost(move.from, given) - cost(move.from, taken) : there;
}

bool RobustSearch::keeps_spread(const Move& move) {
  const std::size_t node = limits_.node_of_rank[arrangement_.rank_of(move.to)];
  count_on_nodes(arrangement_.expert_in(move.to));
  if (on_node_[node] < *std::max_element(on_node_.begin(), on_node_.end())) return false;
  count_on_nodes(arrangement_.expert_in(move.from));
  for (std::size_t other = 0; other < on_node_.size(); ++other)
    if (on_node_[other] < on_node_[node] && on_node_[other] < node_sizes_[other]) return false;
  return true;
}

void RobustSearch::count_on_nodes(std::uint32_t expert) {
  on_node_.assign(node_sizes_.size(), 0);
  arrangement_.for_each_copy(
      expert, [&](std::uint32_t slot) { ++on_node_[limits_.node_of_rank[arrangement_.rank_of(slot)]]; });
}

bool RobustSearch::draw(Move& move) {
  const std::size_t k = draws_.below(scenarios_.size());
  const std::vector<std::uint32_t>& hot = scenarios_[k].hot;
  const std::size_t from_rank = hot[draws_.below(hot.size())];
  const std::size_t to_rank = draws_.below(arrangement_.num_ranks());
  move.is_exchange = draws_.below(2) == 0;
  const auto is_empty = [&](std::size_t rank) {
    return arrangement_.slots_begin(rank) == arrangement_.slots_end(rank);
  };
  if (has(is_hot_[to_rank], k) || is_empty(from_rank) || is_empty(to_rank)) return false;
  const auto slot_on = [&](std::size_t rank) {
    const std::uint32_t first = arrangement_.slots_begin(rank);
    return first + static_cast<std::uint32_t>(draws_.below(arrangement_.slots_end(rank) - first));
  };
  move.from = slot_on(from_rank);
  if (move.is_exchange) {
    move.to = slot_on(to_rank);
    return arrangement_.is_single(move.from) && arrangement_.is_single(move.to);
  }
  const std::span<const std::uint32_t> replicas = arrangement_.replicas_on(to_rank);
  if (replicas.empty() || !arrangement_.is_copy(move.from)) return false;
  move.to = replicas[draws_.below(replicas.size())];
  return has(hot_everywhere(arrangement_.expert_in(move.from), Arrangement::nobody), k);
}

std::uint64_t RobustSearch::hot_everywhere(std::uint32_t expert, std::uint32_t but_in) const {
  std::uint64_t hot = ~std::uint64_t{0};
  arrangement_.for_each_copy(expert, [&](std::uint32_t slot) {
    if (slot != but_in) hot &= is_hot_[arrangement_.rank_of(slot)];
  });
  return hot;
}

/// Loads that move into and out of the hot ranks, and loads that become bound to one rank.
RobustSearch::Consequences RobustSearch::consequences(const Move& move) const {
  Consequences result;
  result.taken = arrangement_.expert_in(move.from);
  result.given = arrangement_.expert_in(move.to);
  const std::uint32_t to = arrangement_.rank_of(move.to);
  if (move.is_exchange) {
    const std::uint32_t from = arrangement_.rank_of(move.from);
    result.taken_leaves = is_hot_[from] & ~is_hot_[to];
    result.taken_enters = is_hot_[to] & ~is_hot_[from];
    result.bound_rank = to;
    return result;
  }
  result.taken_leaves = hot_everywhere(result.taken, Arrangement::nobody) & ~is_hot_[to];
  result.given_enters =
      hot_everywhere(result.given, move.to) & ~hot_everywhere(result.given, Arrangement::nobody);
  if (arrangement_.num_copies(result.given) == 2) {
    result.bound_rank = arrangement_.rank_of(arrangement_.next_copy(move.to));
  }
  return result;
}

std::int64_t RobustSearch::bound_by_hot(const Move& move, const Consequences& of, std::size_t k) const {
  const Scenario& scenario = scenarios_[k];
  if (!has(of.taken_leaves | of.taken_enters | of.given_enters, k)) return scenario.largest;
  const std::int64_t taken = load(k, of.taken);
  const std::int64_t given = load(k, of.given);
  std::int64_t change = 0;  // of the load that the hot ranks cannot share with others
  if (has(of.taken_leaves, k)) change -= move.is_exchange ? taken - given : taken;
  if (has(of.taken_enters, k)) change += taken - given;
  if (has(of.given_enters, k)) change += given;
  const auto ranks = static_cast<std::int64_t>(scenario.hot.size());
  return std::max(means_[k], ceil_div((scenario.largest - 1) * ranks + 1 + change, ranks));
}

std::int64_t RobustSearch::bound_sum(const Move& move) {
  Consequences of = consequences(move);
  std::int64_t sum = 0;
  for (std::size_t k = 0; k < scenarios_.size(); ++k) {
    bounds_[k] = bound_by_hot(move, of, k);
    if (of.bound_rank != Arrangement::nobody) {
      const std::int64_t single = singles_[of.bound_rank * scenarios_.size() + k] + load(k, of.given) +
                                  (move.is_exchange ? load(k, of.taken) - 2 * load(k, of.given) : 0);
      if (single > bounds_[k]) of.is_bound |= std::uint64_t{1} << k;
      bounds_[k] = std::max(bounds_[k], single);
    }
    sum += bounds_[k];
  }
  considered_ = of;
  return sum;
}

void RobustSearch::try_exactly(const Move& move, std::int64_t bounds) {
  const std::uint32_t taken = arrangement_.expert_in(move.from);
  const std::uint32_t given = arrangement_.expert_in(move.to);
  if (move.is_exchange) {
    arrangement_.exchange(move.from, move.to);
  } else {
    arrangement_.clear(move.to);
    arrangement_.put(move.to, taken);
  }
  if (solve(move, given, bounds)) {
    cost_ += move.cost;
    keep(taken, given);
  } else if (move.is_exchange) {
    arrangement_.exchange(move.from, move.to);
  } else {
    arrangement_.clear(move.to);
    arrangement_.put(move.to, given);
  }
}

bool RobustSearch::solve(const Move& move, std::uint32_t given, std::int64_t bounds) {
  for (std::size_t i = 0; i < order_.size(); ++i) {
    const std::size_t k = order_[i];
    Scenario& trial = trials_[k];
    const std::int64_t bound = best_bounds_[k];
    trial.state = scenarios_[k].state;
    adapt(trial.state, move, given, k);
    trial.largest = flow_.minimise(trial.state, bound, bound + sum_ - bounds);
    bounds += trial.largest - bound;
    if (bounds >= sum_) {
      std::rotate(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(i),
                  order_.begin() + static_cast<std::ptrdiff_t>(i) + 1);
      return false;
    }
    prove(k, bound);
  }
  return true;
}

void RobustSearch::prove(std::size_t k, std::int64_t bound) {
  Scenario& trial = trials_[k];
  if (trial.largest > bound) {
    trial.hot.assign(flow_.reached().begin(), flow_.reached().end());
  } else if (trial.largest == means_[k]) {
    trial.hot.resize(arrangement_.num_ranks());
    std::iota(trial.hot.begin(), trial.hot.end(), 0U);
  } else if (has(best_.is_bound, k)) {
    trial.hot.assign(1, best_.bound_rank);
  } else {
    trial.hot = scenarios_[k].hot;
  }
}

void RobustSearch::adapt(FlowState& state, const Move& move, std::uint32_t given, std::size_t k) const {
  const std::uint32_t to = arrangement_.rank_of(move.to);
  const std::uint32_t taken = arrangement_.expert_in(move.to);
  if (move.is_exchange) {
    const std::int64_t moved = load(k, taken) - load(k, given);
    state.rank_loads[arrangement_.rank_of(move.from)] -= moved;
    state.rank_loads[to] += moved;
    return;
  }
  const auto load_at = [&](std::uint32_t slot) { return state.rank_loads[arrangement_.rank_of(slot)]; };
  std::uint32_t heir = arrangement_.first_copy(given);
  arrangement_.for_each_copy(given, [&](std::uint32_t slot) {
    if (load_at(slot) < load_at(heir)) heir = slot;
  });
  const std::int64_t share = std::exchange(state.shares[move.to], 0);
  state.rank_loads[to] -= share;
  state.rank_loads[arrangement_.rank_of(heir)] += share;
  state.shares[heir] = arrangement_.num_copies(given) == 1 ? 0 : state.shares[heir] + share;
  if (arrangement_.num_copies(taken) == 2) state.shares[move.from] = load(k, taken);
}

void RobustSearch::keep(std::uint32_t taken, std::uint32_t given) {
  std::swap(scenarios_, trials_);
  sum_ = 0;
  std::fill(is_hot_.begin(), is_hot_.end(), 0);
  for (std::size_t k = 0; k < scenarios_.size(); ++k) {
    for (const std::uint32_t rank : scenarios_[k].hot) is_hot_[rank] |= std::uint64_t{1} << k;
    sum_ += scenarios_[k].largest;
  }
  for (const std::uint32_t expert : {taken, given}) {
    arrangement_.for_each_copy(expert, [&](std::uint32_t slot) { sum_singles(arrangement_.rank_of(slot)); });
  }
}

}  // namespace moewe
