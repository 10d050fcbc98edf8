#include "runtime/overflow.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>

#include "comm/error.hpp"
#include "runtime/fair_capacity.hpp"

namespace moewe {
namespace {

using Counts = std::vector<std::int64_t>;

/// Local assignments of one policy's run, by their place in routing.experts.
class Resolver {
 public:
  Resolver(Communicator& communicator, std::size_t capacity, std::size_t num_experts, const Routing& routing,
           RoutingTable& decided)
      : communicator_(communicator),
        capacity_(static_cast<std::int64_t>(capacity)),
        num_experts_(num_experts),
        routing_(routing),
        decided_(decided),
        dropped_(num_experts, 0),
        from_(num_experts, 0),
        to_(num_experts, 0) {}

  void drop(const CapacityOptions& options, std::span<const std::int64_t> assigned) {
    const bool by_weight = options.policy == OverflowPolicy::drop_lowest_weight;
    if (options.is_fair) {
      dropped_ = keep_fair_shares(communicator_, {capacity_, assigned, by_weight}, routing_, decided_);
    } else if (by_weight) {
      drop_lowest_weight(assigned);
    } else {
      drop_last();
    }
  }

  void drop_last() {
    const std::vector<std::size_t> all = all_assignments();
    Counts room(num_experts_, capacity_);
    drop_unless(all, take_in_order(routing_.experts, room));
  }

  /// Per expert the assignments above some weight are kept, and the first ones of exactly that weight.
  void drop_lowest_weight(std::span<const std::int64_t> assigned) {
    std::vector<Threshold> thresholds = find_thresholds(assigned);
    std::vector<std::size_t> ties;
    std::vector<ExpertId> experts_of_ties;
    for (const std::size_t i : all_assignments()) {
      const Threshold& threshold = thresholds[index(routing_.experts[i])];
      const std::uint32_t key = order_of_weight(routing_.weights[i]);
      if (threshold.num_ties < 0 || key > threshold.key) continue;
      if (key < threshold.key) {
        drop(i);
      } else {
        ties.push_back(i);
        experts_of_ties.push_back(routing_.experts[i]);
      }
    }
    Counts room(num_experts_, 0);
    for (std::size_t e = 0; e < num_experts_; ++e) room[e] = thresholds[e].num_ties;
    drop_unless(ties, take_in_order(experts_of_ties, room));
  }

  void next_choice() {
    Counts room(num_experts_, capacity_);
    std::vector<std::size_t> bidders = all_assignments();
    std::vector<ExpertId> bids(routing_.experts.begin(), routing_.experts.end());
    while (true) {
      const std::vector<bool> taken = take_in_order(bids, room);
      std::vector<std::size_t> losers;
      for (std::size_t i = 0; i < bidders.size(); ++i) {
        if (taken[i]) {
          reroute(bidders[i], bids[i]);
        } else {
          losers.push_back(bidders[i]);
        }
      }
      bid(losers, room, bidders, bids);
      if (!anybody(!bidders.empty())) return;
    }
  }

  /// Collective. Sums over all ranks of what this rank has counted.
  void add_counts(OverflowReport& report, Counts OverflowReport::*reason) const {
    Counts all;
    for (const Counts* counts : {&dropped_, &from_, &to_})
      all.insert(all.end(), counts->begin(), counts->end());
    communicator_.all_reduce({.sums = all, .minima = {}, .maxima = {}});
    const auto part = [&](std::size_t n) {
      const auto begin = all.begin() + static_cast<std::ptrdiff_t>(n * num_experts_);
      return Counts(begin, begin + static_cast<std::ptrdiff_t>(num_experts_));
    };
    report.*reason = part(0);
    report.rerouted_from = part(1);
    report.rerouted_to = part(2);
    for (std::size_t e = 0; e < num_experts_; ++e) {
      report.kept[e] += report.rerouted_to[e] - report.rerouted_from[e] - (report.*reason)[e];
    }
  }

 private:
  /// The smallest weight that an expert keeps, as a key, and how many of that weight. Below 0: it keeps all.
  struct Threshold {
    std::uint32_t key = 0;
    std::int64_t num_ties = -1;
  };

  std::vector<std::size_t> all_assignments() const {
    std::vector<std::size_t> all(routing_.experts.size());
    std::iota(all.begin(), all.end(), std::size_t{0});
    return all;
  }

  bool anybody(bool here) const {
    std::array<std::int64_t, 1> count{here ? 1 : 0};
    communicator_.all_reduce({.sums = count, .minima = {}, .maxima = {}});
    return count[0] > 0;
  }

  /// Collective. Whether each bid for an expert is among the first room[expert] of all ranks' bids for it;
  /// takes that much off the room.
  std::vector<bool> take_in_order(std::span<const ExpertId> bids, Counts& room) const {
    Counts total(num_experts_, 0);
    for (const ExpertId expert : bids) ++total[index(expert)];
    Counts next = total;
    communicator_.exclusive_scan(next);
    communicator_.all_reduce({.sums = total, .minima = {}, .maxima = {}});
    std::vector<bool> taken;
    taken.reserve(bids.size());
    for (const ExpertId expert : bids) taken.push_back(next[index(expert)]++ < room[index(expert)]);
    for (std::size_t e = 0; e < num_experts_; ++e) room[e] -= std::min(room[e], total[e]);
    return taken;
  }

  /// Collective. Finds the capacity-th largest weight of every expert that has too many, four bits of its key
  /// at a time, from the highest down.
  std::vector<Threshold> find_thresholds(std::span<const std::int64_t> assigned) const {
    constexpr unsigned digit_bits = 4;
    constexpr std::size_t digits = 1U << digit_bits;
    std::vector<Threshold> thresholds(num_experts_);
    for (std::size_t e = 0; e < num_experts_; ++e) {
      if (assigned[e] > capacity_) thresholds[e].num_ties = capacity_;
    }
    for (unsigned shift = 32; shift > 0;) {
      const unsigned above = shift;
      shift -= digit_bits;
      Counts histogram(num_experts_ * digits, 0);
      for (std::size_t i = 0; i < routing_.experts.size(); ++i) {
        const std::size_t e = index(routing_.experts[i]);
        const std::uint32_t key = order_of_weight(routing_.weights[i]);
        const bool matches = above == 32 || (key >> above) == (thresholds[e].key >> above);
        if (thresholds[e].num_ties >= 0 && matches) ++histogram[e * digits + (key >> shift) % digits];
      }
      communicator_.all_reduce({.sums = histogram, .minima = {}, .maxima = {}});
      for (std::size_t e = 0; e < num_experts_; ++e) {
        if (thresholds[e].num_ties < 0) continue;
        std::size_t digit = digits - 1;
        // All weights with a larger digit are kept; the threshold is among those with this one.
        while (digit > 0 && histogram[e * digits + digit] < thresholds[e].num_ties) {
          thresholds[e].num_ties -= histogram[e * digits + digit--];
        }
        thresholds[e].key |= static_cast<std::uint32_t>(digit) << shift;
      }
    }
    return thresholds;
  }

  /// Local. What each loser bids for next; drops those that find nothing. Assignments of one token choose one
  /// after the other.
  void bid(std::span<const std::size_t> losers, const Counts& room, std::vector<std::size_t>& bidders,
           std::vector<ExpertId>& bids) {
    bidders.clear();
    bids.clear();
    std::size_t first_of_token = 0;
    for (const std::size_t i : losers) {
      if (bidders.empty() || bidders[first_of_token] / routing_.top_k != i / routing_.top_k) {
        first_of_token = bidders.size();
      }
      const std::span<const ExpertId> of_token(bids.begin() + static_cast<std::ptrdiff_t>(first_of_token),
                                               bids.end());
      if (const auto expert = best_with_room(i / routing_.top_k, room, of_token)) {
        bidders.push_back(i);
        bids.push_back(*expert);
      } else {
        drop(i);
      }
    }
  }

  std::optional<ExpertId> best_with_room(std::size_t token, const Counts& room,
                                         std::span<const ExpertId> bids_of_token) const {
    const auto chosen = routing_.experts.subspan(token * routing_.top_k, routing_.top_k);
    const auto held = decided_.experts().subspan(token * routing_.top_k, routing_.top_k);
    const auto values = routing_.selection.subspan(token * num_experts_, num_experts_);
    const auto contains = [](std::span<const ExpertId> experts, ExpertId expert) {
      return std::find(experts.begin(), experts.end(), expert) != experts.end();
    };
    std::optional<ExpertId> best;
    for (std::size_t e = 0; e < num_experts_; ++e) {
      if (room[e] <= 0 || std::isinf(values[e])) continue;
      if (best && !(values[e] > values[index(*best)])) continue;
      const ExpertId expert = expert_at(e);
      if (contains(chosen, expert) || contains(held, expert) || contains(bids_of_token, expert)) continue;
      best = expert;
    }
    return best;
  }

  void drop_unless(std::span<const std::size_t> assignments, const std::vector<bool>& kept) {
    for (std::size_t i = 0; i < assignments.size(); ++i) {
      if (!kept[i]) drop(assignments[i]);
    }
  }

  void drop(std::size_t assignment) {
    decided_.experts()[assignment] = no_expert;
    decided_.weights()[assignment] = 0.0F;
    ++dropped_[index(routing_.experts[assignment])];
  }

  void reroute(std::size_t assignment, ExpertId expert) {
    const ExpertId chosen = routing_.experts[assignment];
    if (expert == chosen) return;
    const std::size_t token = assignment / routing_.top_k;
    const float before = routing_.selection[token * num_experts_ + index(chosen)];
    const float now = routing_.selection[token * num_experts_ + index(expert)];
    decided_.experts()[assignment] = expert;
    if (before > 0 && now > 0) decided_.weights()[assignment] *= now / before;
    ++from_[index(chosen)];
    ++to_[index(expert)];
  }

  Communicator& communicator_;
  std::int64_t capacity_;
  std::size_t num_experts_;
  const Routing& routing_;
  RoutingTable& decided_;
  Counts dropped_;  // by the expert that was chosen at first, as is from_
  Counts from_;
  Counts to_;
};

void copy(const Routing& routing, RoutingTable& decided) {
  decided.resize(routing.num_tokens, routing.top_k, 0);
  std::copy(routing.experts.begin(), routing.experts.end(), decided.experts().begin());
  std::copy(routing.weights.begin(), routing.weights.end(), decided.weights().begin());
}

/// Where a token lost something or got another expert.
void renormalise(const Routing& routing, RoutingTable& decided) {
  const std::size_t k = routing.top_k;
  for (std::size_t token = 0; token < routing.num_tokens; ++token) {
    const auto before = routing.experts.subspan(token * k, k);
    const auto now = decided.experts().subspan(token * k, k);
    if (std::equal(before.begin(), before.end(), now.begin())) continue;
    const auto all = routing.weights.subspan(token * k, k);
    const auto kept = decided.weights().subspan(token * k, k);
    const float sum_of_all = std::accumulate(all.begin(), all.end(), 0.0F);
    const float sum_of_kept = std::accumulate(kept.begin(), kept.end(), 0.0F);
    if (sum_of_kept == 0.0F) continue;
    for (float& weight : kept) weight *= sum_of_all / sum_of_kept;
  }
}

[[noreturn]] void throw_overflow(const OverflowReport& report) {
  const auto worst = std::max_element(report.assigned.begin(), report.assigned.end());
  const auto num_over = std::count_if(report.assigned.begin(), report.assigned.end(), [&](std::int64_t load) {
    return load > static_cast<std::int64_t>(report.capacity);
  });
  throw Error(
      ErrorKind::overflow,
      fmt::format("{} of {} experts got more assignments than their capacity of {}; expert {} got {}",
                  num_over, report.assigned.size(), report.capacity, worst - report.assigned.begin(), *worst),
      ErrorScope::shared);
}

}  // namespace

OverflowReport resolve_overflow(Communicator& communicator, const CapacityOptions& options,
                                std::size_t capacity, std::span<const std::int64_t> assigned,
                                const Routing& routing, RoutingTable& decided) {
  const std::size_t num_experts = assigned.size();
  OverflowReport report;
  report.capacity = capacity;
  report.assigned.assign(assigned.begin(), assigned.end());
  report.kept = report.assigned;
  for (Counts* counts :
       {&report.over_capacity, &report.no_room, &report.rerouted_from, &report.rerouted_to}) {
    counts->assign(num_experts, 0);
  }
  copy(routing, decided);
  const std::int64_t most = num_experts == 0 ? 0 : *std::max_element(assigned.begin(), assigned.end());
  if (most <= static_cast<std::int64_t>(capacity)) return report;

  Resolver resolver(communicator, capacity, num_experts, routing, decided);
  switch (options.policy) {
    case OverflowPolicy::error:
      throw_overflow(report);
    case OverflowPolicy::drop_last:
    case OverflowPolicy::drop_lowest_weight:
      resolver.drop(options, assigned);
      resolver.add_counts(report, &OverflowReport::over_capacity);
      break;
    case OverflowPolicy::next_choice:
      resolver.next_choice();
      resolver.add_counts(report, &OverflowReport::no_room);
      break;
  }
  if (options.renormalise) renormalise(routing, decided);
  return report;
}

void check_selection(const Routing& given, std::size_t num_experts, std::size_t layer) {
  if (given.selection.size() != given.num_tokens * num_experts) {
    throw InvalidInput(fmt::format(
        "layer {}: the overflow policy next-choice needs selection values, [{}, {}], with a routing", layer,
        given.num_tokens, num_experts));
  }
  const auto can_be = [](float value) {
    return value < std::numeric_limits<float>::infinity();
  };  // and no NaN
  const auto bad = std::find_if_not(given.selection.begin(), given.selection.end(), can_be);
  if (bad == given.selection.end()) return;
  const auto place = static_cast<std::size_t>(bad - given.selection.begin());
  throw InvalidInput(fmt::format("layer {}: token {}: the selection value of expert {} is {}", layer,
                                 place / num_experts, place % num_experts, *bad));
}

}  // namespace moewe
