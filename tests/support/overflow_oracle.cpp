#include "tests/support/overflow_oracle.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "comm/error.hpp"

namespace moewe::test {
namespace {

/// Assignments of one expert, in order.
using Lists = std::vector<std::vector<std::size_t>>;

Lists assignments_by_expert(const Routing& routing, std::size_t num_experts) {
  Lists lists(num_experts);
  for (std::size_t i = 0; i < routing.experts.size(); ++i) lists.at(index(routing.experts[i])).push_back(i);
  return lists;
}

/// Where each assignment ends, if experts keep the first `capacity` of their lists.
std::vector<ExpertId> keep_first(const Lists& lists, std::size_t num_assignments, std::size_t capacity) {
  std::vector<ExpertId> experts(num_assignments, no_expert);
  for (std::size_t e = 0; e < lists.size(); ++e) {
    for (std::size_t i = 0; i < lists[e].size() && i < capacity; ++i) experts[lists[e][i]] = expert_at(e);
  }
  return experts;
}

std::vector<ExpertId> drop_last(const Routing& routing, std::size_t num_experts, std::size_t capacity) {
  return keep_first(assignments_by_expert(routing, num_experts), routing.experts.size(), capacity);
}

std::vector<ExpertId> drop_lowest_weight(const Routing& routing, std::size_t num_experts,
                                         std::size_t capacity) {
  Lists lists = assignments_by_expert(routing, num_experts);
  for (std::vector<std::size_t>& list : lists) {
    std::stable_sort(list.begin(), list.end(),
                     [&](std::size_t a, std::size_t b) { return routing.weights[a] > routing.weights[b]; });
  }
  return keep_first(lists, routing.experts.size(), capacity);
}

class Bidding {
 public:
  Bidding(const Routing& routing, std::size_t num_experts, std::size_t capacity)
      : routing_(routing), num_experts_(num_experts), room_(num_experts, capacity) {
    if (routing.selection.size() != routing.num_tokens * num_experts)
      throw InvalidInput("next choice: the routing does not say what experts are selected by");
  }

  std::vector<ExpertId> run() {
    given_.assign(routing_.experts.size(), no_expert);
    bids_.assign(routing_.experts.begin(), routing_.experts.end());
    while (accept()) bid();
    return given_;
  }

 private:
  /// False when there was no bid.
  bool accept() {
    bool any = false;
    for (std::size_t i = 0; i < bids_.size(); ++i) {
      if (bids_[i] == no_expert) continue;
      any = true;
      std::size_t& room = room_.at(index(bids_[i]));
      if (room == 0) continue;
      --room;
      given_[i] = bids_[i];
    }
    return any;
  }

  void bid() {
    bids_.assign(bids_.size(), no_expert);
    for (std::size_t i = 0; i < bids_.size(); ++i) {
      if (given_[i] == no_expert) bids_[i] = best_for(i / routing_.top_k);
    }
  }

  ExpertId best_for(std::size_t token) const {
    ExpertId best = no_expert;
    float best_value = -std::numeric_limits<float>::infinity();
    for (std::size_t e = 0; e < num_experts_; ++e) {
      const float value = routing_.selection[token * num_experts_ + e];
      if (room_[e] == 0 || is_taken(token, expert_at(e)) || !(value > best_value)) continue;
      best = expert_at(e);
      best_value = value;
    }
    return best;
  }

  /// Chosen by the token in the first place, or its own by now, or bid for in this round.
  bool is_taken(std::size_t token, ExpertId expert) const {
    for (std::size_t i = token * routing_.top_k; i < (token + 1) * routing_.top_k; ++i) {
      if (routing_.experts[i] == expert || given_[i] == expert || bids_[i] == expert) return true;
    }
    return false;
  }

  const Routing& routing_;
  std::size_t num_experts_;
  std::vector<std::size_t> room_;
  std::vector<ExpertId> given_;
  std::vector<ExpertId> bids_;
};

std::vector<ExpertId> place(const Routing& routing, std::size_t num_experts, const OverflowRule& rule) {
  switch (rule.policy) {
    case OverflowPolicy::drop_last:
      return drop_last(routing, num_experts, rule.capacity);
    case OverflowPolicy::drop_lowest_weight:
      return drop_lowest_weight(routing, num_experts, rule.capacity);
    case OverflowPolicy::next_choice:
      return Bidding(routing, num_experts, rule.capacity).run();
    case OverflowPolicy::error:
      break;
  }
  return {routing.experts.begin(), routing.experts.end()};
}

float placed_weight(const Routing& routing, std::size_t num_experts, std::size_t i, ExpertId placed) {
  const ExpertId chosen = routing.experts[i];
  if (placed == no_expert) return 0;
  if (placed == chosen) return routing.weights[i];
  const std::size_t row = i / routing.top_k * num_experts;
  const float before = routing.selection[row + index(chosen)];
  const float after = routing.selection[row + index(placed)];
  return before > 0 && after > 0 ? routing.weights[i] * (after / before) : routing.weights[i];
}

void renormalise_token(const Routing& routing, std::size_t token, OverflowOutcome& outcome) {
  float before = 0, after = 0;
  bool is_changed = false;
  for (std::size_t i = token * routing.top_k; i < (token + 1) * routing.top_k; ++i) {
    before += routing.weights[i];
    if (outcome.experts[i] != no_expert) after += outcome.weights[i];
    if (outcome.experts[i] != routing.experts[i]) is_changed = true;
  }
  if (!is_changed || after == 0) return;
  for (std::size_t i = token * routing.top_k; i < (token + 1) * routing.top_k; ++i) {
    if (outcome.experts[i] != no_expert) outcome.weights[i] *= before / after;
  }
}

void count(const Routing& routing, std::size_t num_experts, std::size_t capacity, OverflowOutcome& outcome) {
  for (auto* counts :
       {&outcome.kept, &outcome.dropped, &outcome.rerouted_from, &outcome.rerouted_to, &outcome.excess})
    counts->assign(num_experts, 0);
  for (std::size_t i = 0; i < routing.experts.size(); ++i) {
    const std::size_t chosen = index(routing.experts[i]);
    ++outcome.excess[chosen];
    if (outcome.experts[i] == routing.experts[i]) {
      ++outcome.kept[chosen];
    } else if (outcome.experts[i] == no_expert) {
      ++outcome.dropped[chosen];
    } else {
      ++outcome.rerouted_from[chosen];
      ++outcome.rerouted_to[index(outcome.experts[i])];
    }
  }
  for (std::int64_t& excess : outcome.excess)
    excess = std::max<std::int64_t>(excess - static_cast<std::int64_t>(capacity), 0);
}

/// Quarters, so that many values are equal.
float quantised(double value) { return static_cast<float>(std::round(value * 4) / 4); }

class CaseGenerator {
 public:
  explicit CaseGenerator(std::uint64_t seed) : generator_(seed) {}

  OverflowCase operator()() {
    draw_sizes();
    draw_popularity();
    for (std::size_t token = 0; token < case_.num_tokens; ++token) add_token();
    draw_capacity();
    return case_;
  }

 private:
  std::size_t below(std::size_t end) { return static_cast<std::size_t>(generator_() % end); }
  double normal() { return normal_(generator_); }

  void draw_sizes() {
    case_.num_tokens = below(4) == 0 ? below(6) : below(401);
    case_.num_experts = 1 + below(32);
    case_.top_k = 1 + below(std::min<std::size_t>(case_.num_experts, 8));
  }

  void draw_popularity() {
    const double skew = static_cast<double>(below(4));
    for (std::size_t e = 0; e < case_.num_experts; ++e) popularity_.push_back(skew * normal());
    is_positive_ = below(2) == 0;
    num_excluded_ = below(3) == 0 ? below(case_.num_experts - case_.top_k + 1) : 0;
  }

  void add_token() {
    std::vector<float> values;
    for (const double popularity : popularity_) {
      const double value = popularity + normal();
      values.push_back(is_positive_ ? quantised(std::exp(value / 2)) + 0.25F : quantised(value));
    }
    for (std::size_t i = 0; i < num_excluded_; ++i)  // some of them twice
      values[below(values.size())] = -std::numeric_limits<float>::infinity();
    choose(values);
    case_.selection.insert(case_.selection.end(), values.begin(), values.end());
  }

  void choose(const std::vector<float>& values) {
    std::vector<ExpertId> order;
    for (std::size_t e = 0; e < values.size(); ++e) order.push_back(expert_at(e));
    std::stable_sort(order.begin(), order.end(),
                     [&](ExpertId a, ExpertId b) { return values[index(a)] > values[index(b)]; });
    for (std::size_t k = 0; k < case_.top_k; ++k) {
      case_.experts.push_back(order[k]);
      case_.weights.push_back(is_positive_ && below(2) == 0 ? values[index(order[k])]
                                                            : static_cast<float>(below(9)) / 8);
    }
  }

  void draw_capacity() {
    std::vector<std::size_t> load(case_.num_experts, 0);
    for (const ExpertId expert : case_.experts) ++load[index(expert)];
    case_.capacity = 1 + below(*std::max_element(load.begin(), load.end()) + 1);
    if (below(2) == 0)  // about as much as all assignments need
      case_.capacity = 1 + case_.experts.size() / case_.num_experts;
  }

  std::mt19937_64 generator_;
  std::normal_distribution<double> normal_;
  OverflowCase case_;
  std::vector<double> popularity_;
  bool is_positive_ = false;
  std::size_t num_excluded_ = 0;
};

}  // namespace

OverflowOutcome plain_overflow(const Routing& routing, std::size_t num_experts, const OverflowRule& rule) {
  OverflowOutcome outcome;
  outcome.experts = place(routing, num_experts, rule);
  for (std::size_t i = 0; i < routing.experts.size(); ++i)
    outcome.weights.push_back(placed_weight(routing, num_experts, i, outcome.experts[i]));
  if (rule.renormalise) {
    for (std::size_t token = 0; token < routing.num_tokens; ++token)
      renormalise_token(routing, token, outcome);
  }
  count(routing, num_experts, rule.capacity, outcome);
  outcome.is_error =
      rule.policy == OverflowPolicy::error &&
      std::any_of(outcome.excess.begin(), outcome.excess.end(), [](std::int64_t n) { return n > 0; });
  return outcome;
}

OverflowCase OverflowCase::tokens(std::size_t first, std::size_t count) const {
  const auto part = [&](const auto& values, std::size_t width) {
    const auto begin = values.begin() + static_cast<std::ptrdiff_t>(first * width);
    return std::vector(begin, begin + static_cast<std::ptrdiff_t>(count * width));
  };
  return {count,
          num_experts,
          top_k,
          capacity,
          part(experts, top_k),
          part(weights, top_k),
          part(selection, num_experts)};
}

OverflowCase random_overflow_case(std::uint64_t seed) { return CaseGenerator(seed)(); }

}  // namespace moewe::test
