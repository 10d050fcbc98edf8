#include "placement/single_search.hpp"

#include <algorithm>
#include <utility>
#include <vector>

namespace moewe {
namespace {

constexpr std::size_t most_pairs = 1U << 22U;  // of pairs of experts that a search looks at

/// One or two slots of a rank, and what is in them.
struct Pick {
  std::int64_t load;
  std::uint32_t first;
  std::uint32_t second;  ///< or `first` again
};

class SingleSearch {
 public:
  SingleSearch(Arrangement& arrangement, std::span<const std::int64_t> loads)
      : arrangement_(arrangement),
        loads_(loads),
        rank_loads_(arrangement.base_loads().begin(), arrangement.base_loads().end()) {
    for (std::uint32_t slot = 0; slot < arrangement.num_slots(); ++slot) {
      if (holds_one(slot)) rank_loads_[arrangement.rank_of(slot)] += load_in(slot);
    }
  }

  std::int64_t largest() const { return rank_loads_[most_loaded()]; }

  /// `size` experts for as many.
  bool improve(std::size_t size) {
    const std::size_t hot = most_loaded();
    const std::vector<Pick> from = picks(hot, size);
    least_ = rank_loads_[hot];
    for (std::size_t rank = 0; rank < rank_loads_.size(); ++rank) {
      if (rank_loads_[rank] < rank_loads_[hot]) compare(from, hot, rank, size);
    }
    if (least_ == rank_loads_[hot]) return false;
    exchange(best_from_.first, best_to_.first);
    if (size > 1) exchange(best_from_.second, best_to_.second);
    return true;
  }

  bool can_afford_pairs() const {
    std::size_t slots = 0;
    for (std::size_t rank = 0; rank < rank_loads_.size(); ++rank) {
      slots = std::max<std::size_t>(slots, arrangement_.slots_end(rank) - arrangement_.slots_begin(rank));
    }
    const std::size_t pairs = std::min<std::size_t>(slots * slots / 2, most_pairs);
    return pairs * pairs * rank_loads_.size() <= most_pairs;
  }

 private:
  bool holds_one(std::uint32_t slot) const { return arrangement_.expert_in(slot) != Arrangement::nobody; }
  std::int64_t load_in(std::uint32_t slot) const { return loads_[arrangement_.expert_in(slot)]; }

  std::size_t most_loaded() const {
    return static_cast<std::size_t>(std::max_element(rank_loads_.begin(), rank_loads_.end()) -
                                    rank_loads_.begin());
  }

  /// By load.
  std::vector<Pick> picks(std::size_t rank, std::size_t size) const {
    std::vector<Pick> found;
    for (std::uint32_t a = arrangement_.slots_begin(rank); a < arrangement_.slots_end(rank); ++a) {
      if (!holds_one(a)) continue;
      if (size == 1) found.push_back({load_in(a), a, a});
      for (std::uint32_t b = a + 1; size > 1 && b < arrangement_.slots_end(rank); ++b) {
        if (holds_one(b)) found.push_back({load_in(a) + load_in(b), a, b});
      }
    }
    std::sort(found.begin(), found.end(), [](const Pick& a, const Pick& b) {
      return std::pair(a.load, a.first) < std::pair(b.load, b.first);
    });
    return found;
  }

  /// For every pick of `hot` the two of `rank` nearest to what would make both ranks equal.
  void compare(const std::vector<Pick>& from, std::size_t hot, std::size_t rank, std::size_t size) {
    const std::vector<Pick> to = picks(rank, size);
    const std::int64_t half = (rank_loads_[hot] - rank_loads_[rank]) / 2;
    std::size_t next = 0;
    for (const Pick& pick : from) {
      while (next < to.size() && to[next].load < pick.load - half) ++next;
      if (next < to.size()) consider(pick, to[next], hot, rank);
      if (next > 0) consider(pick, to[next - 1], hot, rank);
    }
  }

  void consider(const Pick& from, const Pick& to, std::size_t hot, std::size_t rank) {
    const std::int64_t moved = from.load - to.load;
    const std::int64_t larger = std::max(rank_loads_[hot] - moved, rank_loads_[rank] + moved);
    if (larger >= least_) return;
    least_ = larger;
    best_from_ = from;
    best_to_ = to;
  }

  void exchange(std::uint32_t a, std::uint32_t b) {
    const std::int64_t moved = load_in(a) - load_in(b);
    rank_loads_[arrangement_.rank_of(a)] -= moved;
    rank_loads_[arrangement_.rank_of(b)] += moved;
    arrangement_.exchange(a, b);
  }

  Arrangement& arrangement_;
  std::span<const std::int64_t> loads_;
  std::vector<std::int64_t> rank_loads_;
  std::int64_t least_ = 0;  // larger load of the two ranks after the best exchange so far
  Pick best_from_{};
  Pick best_to_{};
};

}  // namespace

std::int64_t exchange_singles(Arrangement& arrangement, std::span<const std::int64_t> loads,
                              std::int64_t goal, std::size_t most_exchanges) {
  SingleSearch search(arrangement, loads);
  const bool with_pairs = search.can_afford_pairs();
  for (std::size_t i = 0; i < most_exchanges && search.largest() > goal; ++i) {
    if (!search.improve(1) && !(with_pairs && search.improve(2))) break;
  }
  return search.largest();
}

}  // namespace moewe
