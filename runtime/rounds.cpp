#include "runtime/rounds.hpp"

#include <algorithm>

namespace moewe {
namespace {

MemoryPlan round_memory(const Lane& lane, const RoundSizes& sizes) {
  MemoryPlan memory;
  plan_round_memory(lane, sizes, memory);
  return memory;
}

/// Whether a round's largest table, an output for each assignment of all ranks, could overflow a sum. No
/// machine has what the rows alone would take then.
bool is_beyond_counting(std::size_t all_tokens, const StepBounds& bounds) {
  const double outputs = static_cast<double>(all_tokens) * static_cast<double>(bounds.top_k);
  return outputs * static_cast<double>(bounds.row_bytes + sizeof(Row) + 2 * sizeof(PlannedAssignment)) >
         0x1p58;
}

}  // namespace

void plan_round_memory(const Lane& lane, const RoundSizes& sizes, MemoryPlan& memory) {
  memory.add(DispatchPlan::meter_name, DispatchPlan::bytes_for(sizes.num_assigned()));
  lane.exchange().plan_memory(sizes, memory);
}

std::size_t most_round_bytes(const Lane& lane, const StepBounds& bounds, std::size_t num_rounds) {
  const std::size_t own_tokens = (bounds.most_tokens_of_rank + num_rounds - 1) / num_rounds;
  const std::size_t all_tokens = std::min(bounds.num_tokens, own_tokens * bounds.num_ranks);
  if (is_beyond_counting(all_tokens, bounds)) return most_plannable_bytes;
  const std::size_t assigned = own_tokens * bounds.top_k;
  RoundSizes here;
  here.num_tokens = own_tokens;
  here.top_k = bounds.top_k;
  here.num_ranks = bounds.num_ranks;
  here.row_bytes = bounds.row_bytes;
  here.is_audited = bounds.is_audited;
  here.combine = bounds.combine;
  here.flow = bounds.flow;
  here.num_expected = std::min(bounds.num_expected, all_tokens * bounds.top_k);
  here.most_tokens_of_source = own_tokens;
  here.most_expected_on_node = std::min(bounds.num_expected_on_node, all_tokens * bounds.top_k);
  RoundSizes elsewhere = here;
  // Each name's memory is monotone in where assignments go, so that it is largest at one of the extremes;
  // rounds of both kinds may follow one another, and nothing is given back between them.
  here.num_assigned_here = std::min(assigned, here.num_expected);
  here.num_assigned_elsewhere = assigned - here.num_assigned_here;
  elsewhere.num_assigned_elsewhere = assigned;
  MemoryPlan most = lane.held();
  most.cover(round_memory(lane, here));
  most.cover(round_memory(lane, elsewhere));
  return most.total();
}

std::size_t fewest_rounds(const Lane& lane, const StepBounds& bounds, std::size_t budget) {
  const std::size_t most = std::max<std::size_t>(1, bounds.most_tokens_of_rank);
  if (most_round_bytes(lane, bounds, most) > budget) return 0;
  std::size_t too_few = 0;
  std::size_t enough = most;
  while (enough - too_few > 1) {
    const std::size_t middle = too_few + (enough - too_few) / 2;
    (most_round_bytes(lane, bounds, middle) <= budget ? enough : too_few) = middle;
  }
  return enough;
}

}  // namespace moewe
