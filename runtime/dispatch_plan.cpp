#include "runtime/dispatch_plan.hpp"

#include <limits>
#include <numeric>

namespace moewe {
namespace {

constexpr std::uint32_t no_token = std::numeric_limits<std::uint32_t>::max();

/// Calls visit(token, k, slot, is_new_row) in the order of the plan. A row is new the first time that its
/// token goes to the slot's rank.
template <typename Visit>
void for_each_assignment(const Routing& routing, const Placement& placement, SlotChoice& choice,
                         Visit&& visit) {
  std::vector<std::uint32_t> last_token(placement.num_ranks(), no_token);
  for (std::uint32_t token = 0; token < routing.num_tokens; ++token) {
    for (std::uint32_t k = 0; k < routing.top_k; ++k) {
      const ExpertId expert = routing.experts[token * routing.top_k + k];
      if (expert == no_expert) continue;
      const Slot& slot = choice.next(placement, expert);
      const bool is_new_row = last_token[index(slot.rank)] != token;
      last_token[index(slot.rank)] = token;
      visit(token, k, slot, is_new_row);
    }
  }
}

}  // namespace

void DispatchPlan::build(const Routing& routing, const Placement& placement, SlotChoice& choice) {
  num_tokens_ = routing.num_tokens;
  top_k_ = routing.top_k;
  count(routing, placement, choice);
  fill(routing, placement, choice);
}

void DispatchPlan::count(const Routing& routing, const Placement& placement, SlotChoice choice) {
  first_row_.assign(placement.num_ranks() + 1, 0);
  first_assignment_.assign(placement.num_ranks() + 1, 0);
  for_each_assignment(routing, placement, choice, [&](auto, auto, const Slot& slot, bool is_new_row) {
    first_row_[index(slot.rank) + 1] += is_new_row ? 1 : 0;
    ++first_assignment_[index(slot.rank) + 1];
  });
  std::partial_sum(first_row_.begin(), first_row_.end(), first_row_.begin());
  std::partial_sum(first_assignment_.begin(), first_assignment_.end(), first_assignment_.begin());
}

void DispatchPlan::fill(const Routing& routing, const Placement& placement, SlotChoice& choice) {
  const std::span tokens = tokens_.resize<std::uint32_t>(num_assignments());
  const std::span assignments = assignments_.resize<PlannedAssignment>(num_assignments());
  std::vector<std::size_t> next_row = first_row_;
  std::vector<std::size_t> next_assignment = first_assignment_;
  for_each_assignment(routing, placement, choice,
                      [&](std::uint32_t token, std::uint32_t k, const Slot& slot, bool is_new_row) {
                        const std::size_t rank = index(slot.rank);
                        if (is_new_row) tokens[next_row[rank]++] = token;
                        const auto row = static_cast<std::uint32_t>(next_row[rank] - first_row_[rank] - 1);
                        assignments[next_assignment[rank]++] = {row, slot.position, token, k,
                                                                routing.weights[token * routing.top_k + k]};
                      });
}

Destination DispatchPlan::to(Rank rank) const {
  const std::size_t r = index(rank);
  return {
      tokens_.as<std::uint32_t>(num_assignments()).subspan(first_row_[r], first_row_[r + 1] - first_row_[r]),
      assignments_.as<PlannedAssignment>(num_assignments())
          .subspan(first_assignment_[r], first_assignment_[r + 1] - first_assignment_[r])};
}

}  // namespace moewe
