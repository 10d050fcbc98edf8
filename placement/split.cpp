#include "placement/split.hpp"

#include <algorithm>
#include <numeric>
#include <xxhash.h>

#include "comm/error.hpp"
#include "placement/load_flow.hpp"
#include "placement/loads.hpp"

namespace moewe {
namespace {

std::vector<std::uint32_t> slots_in_order(const Placement& placement, const Arrangement& arrangement) {
  std::vector<std::uint32_t> slots;
  slots.reserve(placement.num_slots());
  for (std::size_t expert = 0; expert < placement.num_experts(); ++expert) {
    for (const Slot& slot : placement.slots_of(expert_at(expert))) {
      slots.push_back(arrangement.slots_begin(index(slot.rank)) + slot.position);
    }
  }
  return slots;
}

}  // namespace

struct Splitter::Work {
  explicit Work(const Placement& placement)
      : arrangement(placement), flow(arrangement), slots(slots_in_order(placement, arrangement)) {
    expects(placement.num_ranks() > 0, "a placement that is split has ranks");
  }

  /// The least largest load; the flow that reaches it is in `state`.
  std::int64_t solve(std::span<const std::int64_t> loads) {
    find_mean(loads);
    flow.fill(state, loads);
    return flow.minimise(state, mean);
  }

  std::int64_t solve_near(std::span<const std::int64_t> loads, std::span<const std::int64_t> preferred) {
    find_mean(loads);
    expects(preferred.size() == slots.size(), "every slot has a preferred share");
    left.assign(loads.begin(), loads.end());
    flow.fill(state, std::vector<std::int64_t>(loads.size(), 0));
    for (std::size_t i = 0; i < slots.size(); ++i) take(slots[i], preferred[i]);
    for (std::uint32_t expert = 0; expert < left.size(); ++expert) flow.pour(state, expert, left[expert]);
    return flow.minimise(state, mean);
  }

  const Split& report(std::span<const std::int64_t> loads, std::int64_t largest) {
    split.largest = largest;
    report_shares(loads);
    report_proof();
    return split;
  }

  void find_mean(std::span<const std::int64_t> loads) {
    const std::int64_t total = checked_total(loads, arrangement.num_experts(), "split");
    mean = ceil_div(total, static_cast<std::int64_t>(arrangement.num_ranks()));
  }

  void take(std::uint32_t slot, std::int64_t share) {
    if (!arrangement.is_replica(slot)) return;
    state.shares[slot] = share;
    state.rank_loads[arrangement.rank_of(slot)] += share;
    left[arrangement.expert_in(slot)] -= share;
  }

  void report_shares(std::span<const std::int64_t> loads) {
    split.shares.resize(slots.size());
    for (std::size_t i = 0; i < slots.size(); ++i) {
      const std::uint32_t slot = slots[i];
      split.shares[i] = arrangement.is_single(slot) ? loads[arrangement.expert_in(slot)] : state.shares[slot];
    }
    split.rank_loads.assign(state.rank_loads.begin(), state.rank_loads.end());
  }

  void report_proof() {
    split.hot_ranks.clear();
    if (split.largest == mean) {
      for (std::size_t rank = 0; rank < arrangement.num_ranks(); ++rank) {
        split.hot_ranks.push_back(rank_at(rank));
      }
      return;
    }
    for (const std::uint32_t rank : flow.reached()) split.hot_ranks.push_back(rank_at(rank));
    std::sort(split.hot_ranks.begin(), split.hot_ranks.end());
  }

  Arrangement arrangement;
  LoadFlow flow;
  std::vector<std::uint32_t> slots;  // of the arrangement, in the order of Split::shares
  FlowState state;
  std::vector<std::int64_t> left;  // [experts] what no slot has taken yet
  std::int64_t mean = 0;
  Split split;
};

Splitter::Splitter(const Placement& placement) : work_(std::make_unique<Work>(placement)) {}
Splitter::~Splitter() = default;
Splitter::Splitter(Splitter&&) noexcept = default;
Splitter& Splitter::operator=(Splitter&&) noexcept = default;

const Split& Splitter::split(std::span<const std::int64_t> loads) {
  return work_->report(loads, work_->solve(loads));
}

const Split& Splitter::split_near(std::span<const std::int64_t> loads,
                                  std::span<const std::int64_t> preferred) {
  return work_->report(loads, work_->solve_near(loads, preferred));
}

std::int64_t Splitter::largest(std::span<const std::int64_t> loads) { return work_->solve(loads); }

Split split_loads(const Placement& placement, std::span<const std::int64_t> loads) {
  return Splitter(placement).split(loads);
}

std::vector<std::int64_t> scale_shares(std::span<const std::int64_t> shares, std::int64_t load) {
  expects(!shares.empty(), "an expert has a slot at least");
  const std::int64_t total = std::accumulate(shares.begin(), shares.end(), std::int64_t{0});
  const std::vector<std::int64_t> equal(shares.size(), 1);
  if (total == 0) return scale_shares(equal, load);
  std::vector<std::int64_t> scaled(shares.size());
  std::vector<std::pair<std::int64_t, std::size_t>> remainders;
  std::int64_t left = load;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    const QuotientAndRest part = multiply_and_divide(load, shares[i], total);
    scaled[i] = part.quotient;
    left -= part.quotient;
    remainders.emplace_back(-part.rest, i);
  }
  std::sort(remainders.begin(), remainders.end());
  for (std::size_t i = 0; left > 0; ++i, --left) ++scaled[remainders[i].second];
  return scaled;
}

std::vector<std::int64_t> deal_shares(std::span<const std::int64_t> shares, std::int64_t load,
                                      std::int64_t start) {
  expects(!shares.empty() && start >= 0 && start < max_total_load, "a deal has a start and somebody to deal to");
  const std::int64_t total = std::accumulate(shares.begin(), shares.end(), std::int64_t{0});
  const std::vector<std::int64_t> equal(shares.size(), 1);
  if (total == 0) return deal_shares(equal, load, start);
  const std::int64_t offset = multiply_and_divide(total, start, max_total_load).quotient;
  std::vector<std::int64_t> dealt;
  std::int64_t up_to = 0, dealt_before = 0;
  for (const std::int64_t share : shares) {
    up_to += share;
    const QuotientAndRest part = multiply_and_divide(load, up_to, total);
    const std::int64_t dealt_up_to = part.quotient + (part.rest > offset ? 1 : 0);
    dealt.push_back(dealt_up_to - dealt_before);
    dealt_before = dealt_up_to;
  }
  return dealt;
}

std::vector<std::int64_t> served_in_order(std::span<const std::int64_t> shares, std::int64_t first,
                                          std::int64_t count) {
  std::vector<std::int64_t> served;
  for (const std::int64_t share : shares) {
    const std::int64_t here = std::clamp(share - first, std::int64_t{0}, count);
    served.push_back(here);
    count -= here;
    first = std::max(first - share, std::int64_t{0});
  }
  return served;
}

std::uint64_t split_digest(const Placement& placement, std::span<const std::int64_t> shares) {
  return XXH3_64bits_withSeed(shares.data(), shares.size_bytes(), placement.digest());
}

}  // namespace moewe
