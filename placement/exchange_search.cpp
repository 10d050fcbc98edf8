#include "placement/exchange_search.hpp"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "placement/loads.hpp"

namespace moewe {
namespace {

constexpr std::size_t most_tried = 6;         // exactly, in a round
constexpr std::size_t most_cool_ranks = 64;   // that are looked at in a round
constexpr std::size_t most_work = 1U << 17U;  // slots times exact trials, a bound on the time

}  // namespace

bool ExchangeSearch::Exchange::operator<(const Exchange& other) const {
  return std::tie(score, from, to) < std::tie(other.score, other.from, other.to);
}

ExchangeSearch::ExchangeSearch(Arrangement& arrangement, std::span<const std::int64_t> loads)
    : arrangement_(arrangement), loads_(loads), flow_(arrangement), is_hot_(arrangement.num_ranks()) {
  const auto base = arrangement.base_loads();
  const std::int64_t total =
      std::accumulate(loads.begin(), loads.end(), std::accumulate(base.begin(), base.end(), std::int64_t{0}));
  mean_ = ceil_div(total, static_cast<std::int64_t>(arrangement.num_ranks()));
}

std::int64_t ExchangeSearch::run(std::int64_t goal, std::size_t most_exchanges) {
  flow_.fill(state_, loads_);
  largest_ = flow_.minimise(state_, mean_);
  if (largest_ > mean_) hot_.assign(flow_.reached().begin(), flow_.reached().end());
  const std::size_t affordable = most_work / (most_tried * (arrangement_.num_slots() + 1)) + 1;
  const std::size_t rounds = std::min(most_exchanges, affordable);
  for (std::size_t round = 0; round < rounds && largest_ > std::max(goal, mean_); ++round) {
    if (!improve()) break;
  }
  return largest_;
}

bool ExchangeSearch::improve() {
  list_singles();
  list_exchanges();
  std::size_t best = exchanges_.size();
  std::int64_t least = largest_;
  for (std::size_t i = 0; i < exchanges_.size(); ++i) {
    trial_ = state_;
    apply(exchanges_[i], trial_);
    const std::int64_t largest = flow_.minimise(trial_, mean_, least);
    if (largest >= least) continue;
    best = i;
    least = largest;
    std::swap(best_state_, trial_);
    if (largest > mean_) best_hot_.assign(flow_.reached().begin(), flow_.reached().end());
  }
  if (best == exchanges_.size()) return false;
  arrangement_.exchange(exchanges_[best].from, exchanges_[best].to);
  std::swap(state_, best_state_);
  std::swap(hot_, best_hot_);
  largest_ = least;
  return true;
}

void ExchangeSearch::apply(const Exchange& exchange, FlowState& state) const {
  const std::int64_t difference =
      loads_[arrangement_.expert_in(exchange.from)] - loads_[arrangement_.expert_in(exchange.to)];
  state.rank_loads[arrangement_.rank_of(exchange.from)] -= difference;
  state.rank_loads[arrangement_.rank_of(exchange.to)] += difference;
}

void ExchangeSearch::append_singles(std::size_t rank, std::vector<Single>& singles) const {
  for (std::uint32_t slot = arrangement_.slots_begin(rank); slot < arrangement_.slots_end(rank); ++slot) {
    if (arrangement_.is_single(slot)) singles.push_back({loads_[arrangement_.expert_in(slot)], slot});
  }
}

void ExchangeSearch::list_singles() {
  std::fill(is_hot_.begin(), is_hot_.end(), false);
  hot_singles_.clear();
  cool_singles_.clear();
  for (const std::uint32_t rank : hot_) {
    is_hot_[rank] = true;
    append_singles(rank, hot_singles_);
  }
  std::vector<std::pair<std::int64_t, std::size_t>> cool;
  for (std::size_t rank = 0; rank < is_hot_.size(); ++rank) {
    if (!is_hot_[rank] && state_.rank_loads[rank] < mean_) cool.emplace_back(state_.rank_loads[rank], rank);
  }
  std::sort(cool.begin(), cool.end());
  if (cool.size() > most_cool_ranks) cool.resize(most_cool_ranks);
  for (const auto& [load, rank] : cool) append_singles(rank, cool_singles_);
}

void ExchangeSearch::list_exchanges() {
  exchanges_.clear();
  std::int64_t excess = -static_cast<std::int64_t>(hot_.size()) * mean_;
  for (const std::uint32_t rank : hot_) excess += state_.rank_loads[rank];
  for (const Single& to : cool_singles_) {
    const std::int64_t room = mean_ - state_.rank_loads[arrangement_.rank_of(to.slot)];
    for (const Single& from : hot_singles_) {
      const std::int64_t moved = from.load - to.load;
      if (moved <= 0) continue;
      const std::int64_t score =
          std::max<std::int64_t>(0, excess - moved) + 2 * std::max<std::int64_t>(0, moved - room);
      if (exchanges_.size() == most_tried && score > exchanges_.back().score) continue;
      consider({score, from.slot, to.slot});
    }
  }
}

void ExchangeSearch::consider(const Exchange& exchange) {
  const auto place = std::upper_bound(exchanges_.begin(), exchanges_.end(), exchange);
  exchanges_.insert(place, exchange);
  if (exchanges_.size() > most_tried) exchanges_.pop_back();
}

}  // namespace moewe
