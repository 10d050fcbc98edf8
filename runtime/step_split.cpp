#include "runtime/step_split.hpp"

#include <algorithm>

#include "placement/placed_split.hpp"
#include "placement/split.hpp"

namespace moewe {
namespace {

std::vector<ExpertId> replicated_experts(const Placement& placement) {
  std::vector<ExpertId> experts;
  for (std::size_t e = 0; e < placement.num_experts(); ++e) {
    if (placement.slots_of(expert_at(e)).size() > 1) experts.push_back(expert_at(e));
  }
  return experts;
}

std::vector<std::int64_t> count_kept(const Routing& routing, std::size_t num_experts) {
  std::vector<std::int64_t> per_expert(num_experts, 0);
  for (const ExpertId expert : routing.experts) {
    if (expert != no_expert) ++per_expert[index(expert)];
  }
  return per_expert;
}

std::vector<std::int64_t> counts_of(std::span<const ExpertId> experts,
                                    std::span<const std::int64_t> per_expert) {
  std::vector<std::int64_t> counts(experts.size());
  std::transform(experts.begin(), experts.end(), counts.begin(),
                 [&](ExpertId expert) { return per_expert[index(expert)]; });
  return counts;
}

/// What each rank sends to each expert, as far as it matters: an expert with one slot gets all that it gets
/// there, wherever that comes from.
std::vector<std::int64_t> counts_by_source(const Placement& placement, std::span<const ExpertId> replicated,
                                           std::span<const std::int64_t> gathered,
                                           std::span<const std::int64_t> assignments_per_expert) {
  const std::size_t num_experts = placement.num_experts();
  std::vector<std::int64_t> counts(placement.num_ranks() * num_experts, 0);
  for (std::size_t e = 0; e < num_experts; ++e) {
    if (placement.slots_of(expert_at(e)).size() > 1) continue;
    counts[index(placement.slot_of(expert_at(e)).rank) * num_experts + e] = assignments_per_expert[e];
  }
  for (std::size_t rank = 0; rank < placement.num_ranks(); ++rank) {
    for (std::size_t i = 0; i < replicated.size(); ++i)
      counts[rank * num_experts + index(replicated[i])] = gathered[rank * replicated.size() + i];
  }
  return counts;
}

StepSplit by_source(Communicator& communicator, const Placement& placement,
                    std::span<const std::int64_t> mine,
                    std::span<const std::int64_t> assignments_per_expert) {
  std::vector<std::int64_t> gathered(communicator.size() * mine.size());
  communicator.all_gather(std::as_bytes(mine), std::as_writable_bytes(std::span(gathered)));
  return split_by_source_counts(placement, communicator.topology(), communicator.rank(), gathered,
                                assignments_per_expert);
}

StepSplit in_token_order(Communicator& communicator, const Placement& placement,
                         std::span<const ExpertId> replicated, std::span<const std::int64_t> mine,
                         std::span<const std::int64_t> assignments_per_expert) {
  std::vector<std::int64_t> before(mine.begin(), mine.end());
  communicator.exclusive_scan(before);
  StepSplit split{split_as_placed(placement, assignments_per_expert).shares,
                  std::vector<std::int64_t>(placement.num_slots(), 0)};
  for (std::size_t i = 0; i < replicated.size(); ++i) {
    const std::size_t first = placement.first_slot(replicated[i]);
    const std::size_t count = placement.slots_of(replicated[i]).size();
    const std::vector<std::int64_t> served =
        served_in_order(std::span(split.per_slot).subspan(first, count), before[i], mine[i]);
    std::copy(served.begin(), served.end(), split.quotas.begin() + static_cast<std::ptrdiff_t>(first));
  }
  split.digest = split_digest(placement, split.per_slot);
  return split;
}

}  // namespace

std::size_t num_source_counts(const Placement& placement) {
  if (!placement.has_replicas() || placement.num_ranks() > most_ranks_by_source) return 0;
  return placement.num_ranks() * replicated_experts(placement).size();
}

std::size_t most_source_counts(std::size_t num_ranks, std::size_t num_experts, std::size_t num_spare) {
  return num_ranks > most_ranks_by_source ? 0 : num_ranks * std::min(num_experts, num_spare);
}

void append_source_counts(const Placement& placement, Rank rank, std::vector<std::int64_t>& counts) {
  if (!placement.has_replicas()) return;
  const std::vector<ExpertId> replicated = replicated_experts(placement);
  const std::vector<std::int64_t> mine = counts_of(replicated, counts);
  const std::size_t begin = counts.size();
  counts.resize(begin + placement.num_ranks() * mine.size(), 0);
  std::copy(mine.begin(), mine.end(),
            counts.begin() + static_cast<std::ptrdiff_t>(begin + index(rank) * mine.size()));
}

StepSplit split_by_source_counts(const Placement& placement, const Topology& topology, Rank rank,
                                 std::span<const std::int64_t> source_counts,
                                 std::span<const std::int64_t> assignments_per_expert) {
  const SourceSplit split = split_as_placed(
      placement, topology,
      counts_by_source(placement, replicated_experts(placement), source_counts, assignments_per_expert));
  const std::span<const std::int64_t> quotas = split.quotas_of(rank);
  return {split.split.shares, {quotas.begin(), quotas.end()}, split_digest(placement, split.split.shares)};
}

StepSplit split_step(Communicator& communicator, const Placement& placement, const Routing& routing,
                     std::span<const std::int64_t> assignments_per_expert) {
  if (!placement.has_replicas()) return {{assignments_per_expert.begin(), assignments_per_expert.end()}, {}};
  const std::vector<ExpertId> replicated = replicated_experts(placement);
  const std::vector<std::int64_t> mine = counts_of(replicated, count_kept(routing, placement.num_experts()));
  if (communicator.size() <= most_ranks_by_source)
    return by_source(communicator, placement, mine, assignments_per_expert);
  return in_token_order(communicator, placement, replicated, mine, assignments_per_expert);
}

std::vector<std::int64_t> assignments_of(Rank rank, const Placement& placement,
                                         std::span<const std::int64_t> per_slot) {
  const std::span<const std::size_t> slots = placement.slot_numbers_of(rank);
  std::vector<std::int64_t> counts(slots.size());
  std::transform(slots.begin(), slots.end(), counts.begin(),
                 [&](std::size_t slot) { return per_slot[slot]; });
  return counts;
}

std::vector<std::int64_t> count_slots(const Routing& routing, const Placement& placement, SlotChoice choice,
                                      std::size_t room) {
  std::vector<std::int64_t> counts;
  counts.reserve(placement.num_slots() + room);
  counts.resize(placement.num_slots(), 0);
  for (const ExpertId expert : routing.experts) {
    if (expert == no_expert) continue;
    const Slot& slot = choice.next(placement, expert);
    ++counts[placement.first_slot(expert) +
             static_cast<std::size_t>(&slot - placement.slots_of(expert).data())];
  }
  return counts;
}

}  // namespace moewe
