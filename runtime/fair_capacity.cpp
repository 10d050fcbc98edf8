#include "runtime/fair_capacity.hpp"

#include <algorithm>
#include <bit>

namespace moewe {
namespace {

using Counts = std::vector<std::int64_t>;

/// Per expert, what every rank gets that wants as much.
class Levels {
 public:
  Levels(Communicator& communicator, const FairCapacity& fair, std::span<const std::int64_t> own)
      : communicator_(communicator), fair_(fair), own_(own), levels_(own.size(), 0) {}

  /// Four bits at a time, from the highest down: the largest with which all ranks together stay within the
  /// capacity.
  void find() {
    const auto num_bits = static_cast<unsigned>(std::bit_width(static_cast<std::uint64_t>(fair_.capacity)));
    for (unsigned shift = (num_bits + digit_bits - 1) / digit_bits * digit_bits; shift > 0;) {
      shift -= digit_bits;
      find_digit(shift);
    }
  }

  /// What does not divide goes one by one to the first ranks that want more.
  Counts shares() const {
    Counts taken = sums_up_to(levels_);
    Counts earlier(own_.size(), 0);
    for (std::size_t e = 0; e < own_.size(); ++e) earlier[e] = own_[e] > levels_[e] ? 1 : 0;
    communicator_.exclusive_scan(earlier);
    Counts shares(own_.begin(), own_.end());
    for (std::size_t e = 0; e < own_.size(); ++e) {
      if (fair_.assigned[e] <= fair_.capacity || own_[e] <= levels_[e]) continue;
      shares[e] = levels_[e] + (earlier[e] < fair_.capacity - taken[e] ? 1 : 0);
    }
    return shares;
  }

 private:
  static constexpr unsigned digit_bits = 4;
  static constexpr std::int64_t digits = 1 << digit_bits;

  void find_digit(unsigned shift) {
    Counts sums;
    for (std::int64_t digit = 1; digit < digits; ++digit) {
      for (std::size_t e = 0; e < own_.size(); ++e)
        sums.push_back(std::min(own_[e], levels_[e] + (digit << shift)));
    }
    communicator_.all_reduce({.sums = sums, .minima = {}, .maxima = {}});
    for (std::size_t e = 0; e < own_.size(); ++e) {
      std::int64_t digit = 0;
      while (digit + 1 < digits && sums[static_cast<std::size_t>(digit) * own_.size() + e] <= fair_.capacity)
        ++digit;
      levels_[e] += digit << shift;
    }
  }

  /// Over all ranks.
  Counts sums_up_to(const Counts& levels) const {
    Counts sums;
    for (std::size_t e = 0; e < own_.size(); ++e) sums.push_back(std::min(own_[e], levels[e]));
    communicator_.all_reduce({.sums = sums, .minima = {}, .maxima = {}});
    return sums;
  }

  Communicator& communicator_;
  const FairCapacity& fair_;
  std::span<const std::int64_t> own_;
  Counts levels_;
};

/// In the order in which the rank would keep them.
std::vector<std::size_t> order_of(const Routing& routing, bool by_weight) {
  std::vector<std::size_t> order(routing.experts.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  if (!by_weight) return order;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return order_of_weight(routing.weights[a]) > order_of_weight(routing.weights[b]);
  });
  return order;
}

}  // namespace

std::vector<std::int64_t> fair_share_of_rank(Communicator& communicator, const FairCapacity& fair,
                                             std::span<const std::int64_t> own) {
  Levels levels(communicator, fair, own);
  levels.find();
  return levels.shares();
}

std::vector<std::int64_t> keep_fair_shares(Communicator& communicator, const FairCapacity& fair,
                                           const Routing& routing, RoutingTable& decided) {
  Counts own(fair.assigned.size(), 0);
  for (const ExpertId expert : routing.experts) ++own[index(expert)];
  Counts left = fair_share_of_rank(communicator, fair, own);
  Counts dropped(own.size(), 0);
  for (const std::size_t i : order_of(routing, fair.by_weight)) {
    const std::size_t e = index(routing.experts[i]);
    if (--left[e] >= 0) continue;
    decided.experts()[i] = no_expert;
    decided.weights()[i] = 0.0F;
    ++dropped[e];
  }
  return dropped;
}

}  // namespace moewe
