#include "runtime/destination_counts.hpp"

#include <limits>

#include "runtime/slot_choice.hpp"

namespace moewe {

std::vector<DestinationCounts> count_for_ranks(const Routing& routing, const Placement& placement,
                                               std::span<const std::int64_t> quotas) {
  constexpr std::size_t no_token = std::numeric_limits<std::size_t>::max();
  std::vector<DestinationCounts> counts(placement.num_ranks());
  std::vector<std::size_t> last_token(placement.num_ranks(), no_token);
  SlotChoice choice(quotas);
  for (std::size_t i = 0; i < routing.experts.size(); ++i) {
    if (routing.experts[i] == no_expert) continue;
    const std::size_t rank = index(choice.next(placement, routing.experts[i]).rank);
    const std::size_t token = i / routing.top_k;
    if (last_token[rank] != token) ++counts[rank].rows;
    last_token[rank] = token;
    ++counts[rank].assignments;
  }
  return counts;
}

}  // namespace moewe
