#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "placement/split.hpp"

namespace moewe {

// What no placement can better. Each bound is the least whole number of assignments that the most loaded rank
// of one layer computes at least, whichever experts are copied to wherever slots are, and however whole
// assignments are split among the copies: fractions are rounded up. `loads` has each expert's assignments,
// none below 0, and at most max_total_load in all. All throw InvalidInput for anything else.

/// All assignments over all ranks.
std::int64_t mean_bound(std::span<const std::int64_t> loads, std::size_t num_ranks);

/// An expert with load w needs ceil(w / T) copies where no rank computes more than T, and one at least: the
/// least T, from the mean bound on, whose copies fit into `num_slots`. Throws InvalidInput also where the
/// experts do not fit.
std::int64_t slot_bound(std::span<const std::int64_t> loads, std::size_t num_ranks, std::size_t num_slots);

/// Without spare slots, so that each slot holds another expert and each rank as many as it has slots. The
/// largest of two kinds of bounds, (a) for each n and (b) for each q:
///
/// (a) The n experts of the largest loads lie on some number i of ranks: not fewer than can hold them, and
/// not more than n. These ranks also hold what fills them up, which is loaded no less than the experts of the
/// smallest loads; their mean is a bound for this i, and the smallest over all i one for this n.
/// (b) Ranks hold at most q each of as many of the largest loads as that makes room for; with one more of
/// these, some rank holds q + 1, no less than the smallest of them, and is filled up as in (a).
///
/// Ranks may have different numbers of slots. Throws InvalidInput also where slots and experts are not
/// equally many.
std::int64_t cardinality_bound(std::span<const std::int64_t> loads,
                               std::span<const std::size_t> slots_of_rank);

/// All that hold for a layer on such ranks.
struct LoadBounds {
  std::int64_t mean = 0;
  std::int64_t slot = 0;
  std::optional<std::int64_t> cardinality;  ///< where there are no spare slots

  std::int64_t largest() const;
};

LoadBounds load_bounds(std::span<const std::int64_t> loads, std::span<const std::size_t> slots_of_rank);

}  // namespace moewe
