#include "runtime/stored_split.hpp"

#include <algorithm>
#include <span>
#include <utility>

#include "comm/error.hpp"
#include "placement/split.hpp"

namespace moewe {

void StoredSplit::keep(const Placement& placement, StepSplit split) {
  split_ = std::move(split);
  placement_ = placement.digest();
  num_uses_ = 0;
}

bool StoredSplit::take(const Placement& placement) {
  if (num_uses_ >= most_uses || placement_ != placement.digest()) return false;
  ++num_uses_;
  return true;
}

/// Evenly distributed over ranks and uses: multiples of irrational parts of 1, as R. Roberts' "The
/// unreasonable effectiveness of quasirandom sequences" has them for two dimensions, and the golden ratio's
/// for a third.
std::int64_t StoredSplit::start_of_deal(Rank rank, ExpertId expert) const {
  const std::uint64_t position = index(rank) * 0xC13FA9A902A6328FU + num_uses_ * 0x91E10DA5C79E7B1CU +
                                 index(expert) * 0x9E3779B97F4A7C15U;
  constexpr unsigned bits_of_start = 40;
  return static_cast<std::int64_t>(position >> (64U - bits_of_start));
}

std::vector<std::int64_t> StoredSplit::quotas(const Placement& placement, const Routing& routing,
                                              Rank rank) const {
  expects(placement_ == placement.digest(), "a stored split is of the step's placement");
  const std::vector<std::int64_t> counts = count_assignments(routing, placement.num_experts());
  std::vector<std::int64_t> quotas(placement.num_slots(), 0);
  for (std::size_t e = 0; e < counts.size(); ++e) {
    const std::size_t first = placement.first_slot(expert_at(e));
    const std::size_t count = placement.slots_of(expert_at(e)).size();
    if (count == 1) continue;
    const auto mine = std::span(split_.quotas).subspan(first, count);
    const bool is_known = std::any_of(mine.begin(), mine.end(), [](std::int64_t quota) { return quota > 0; });
    const auto shares = deal_shares(is_known ? mine : std::span(split_.per_slot).subspan(first, count),
                                    counts[e], start_of_deal(rank, expert_at(e)));
    std::copy(shares.begin(), shares.end(), quotas.begin() + static_cast<std::ptrdiff_t>(first));
  }
  return quotas;
}

}  // namespace moewe
