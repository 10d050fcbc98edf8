#include "placement/arrangement.hpp"

#include <utility>

namespace moewe {
namespace {

std::vector<std::size_t> slots_per_rank_of(const Placement& placement) {
  std::vector<std::size_t> slots;
  for (std::size_t rank = 0; rank < placement.num_ranks(); ++rank) {
    slots.push_back(placement.experts_of(rank_at(rank)).size());
  }
  return slots;
}

}  // namespace

Arrangement::Arrangement(std::size_t num_experts, std::span<const std::size_t> slots_per_rank)
    : first_copy_(num_experts, nobody), num_copies_(num_experts, 0) {
  first_slot_.push_back(0);
  for (std::size_t rank = 0; rank < slots_per_rank.size(); ++rank) {
    rank_of_.resize(rank_of_.size() + slots_per_rank[rank], static_cast<std::uint32_t>(rank));
    first_slot_.push_back(static_cast<std::uint32_t>(rank_of_.size()));
  }
  expert_in_.assign(rank_of_.size(), nobody);
  replicas_.resize(rank_of_.size());
  num_replicas_.assign(slots_per_rank.size(), 0);
  base_loads_.assign(slots_per_rank.size(), 0);
  next_copy_.resize(rank_of_.size());
  for (std::size_t slot = 0; slot < next_copy_.size(); ++slot) {
    next_copy_[slot] = static_cast<std::uint32_t>(slot);
  }
}

Arrangement::Arrangement(const Placement& placement)
    : Arrangement(placement.num_experts(), slots_per_rank_of(placement)) {
  for (std::size_t rank = 0; rank < placement.num_ranks(); ++rank) {
    std::uint32_t slot = slots_begin(rank);
    for (const ExpertId id : placement.experts_of(rank_at(rank))) {
      const auto expert = static_cast<std::uint32_t>(id);
      if (holds(rank, expert)) {
        put_aside(slot++, expert);
      } else {
        put(slot++, expert);
      }
    }
  }
}

bool Arrangement::holds(std::size_t rank, std::uint32_t expert) const {
  for (std::uint32_t slot = slots_begin(rank); slot < slots_end(rank); ++slot) {
    if (expert_in_[slot] == expert) return true;
  }
  return false;
}

void Arrangement::put(std::uint32_t slot, std::uint32_t expert) {
  expert_in_[slot] = expert;
  if (num_copies_[expert]++ == 0) {
    first_copy_[expert] = slot;
    next_copy_[slot] = slot;
    return;
  }
  const std::uint32_t first = first_copy_[expert];
  if (num_copies_[expert] == 2) list_replica(first);
  list_replica(slot);
  next_copy_[slot] = next_copy_[first];
  next_copy_[first] = slot;
}

void Arrangement::clear(std::uint32_t slot) {
  const std::uint32_t expert = expert_in_[slot];
  if (is_copy(slot)) {
    if (is_replica(slot)) unlist_replica(slot);
    std::uint32_t before = slot;
    while (next_copy_[before] != slot) before = next_copy_[before];
    next_copy_[before] = next_copy_[slot];
    next_copy_[slot] = slot;
    if (--num_copies_[expert] == 1) unlist_replica(before);
    if (first_copy_[expert] == slot) first_copy_[expert] = before == slot ? nobody : before;
  }
  expert_in_[slot] = nobody;
}

void Arrangement::list_replica(std::uint32_t slot) {
  const std::uint32_t rank = rank_of_[slot];
  replicas_[first_slot_[rank] + num_replicas_[rank]++] = slot;
}

void Arrangement::unlist_replica(std::uint32_t slot) {
  const std::uint32_t rank = rank_of_[slot];
  std::uint32_t at = first_slot_[rank];
  while (replicas_[at] != slot) ++at;
  replicas_[at] = replicas_[first_slot_[rank] + --num_replicas_[rank]];
}

void Arrangement::exchange(std::uint32_t a, std::uint32_t b) {
  const std::uint32_t expert_a = expert_in_[a];
  const std::uint32_t expert_b = expert_in_[b];
  clear(a);
  clear(b);
  put(a, expert_b);
  put(b, expert_a);
}

Placement Arrangement::to_placement(std::uint64_t epoch) const {
  std::vector<std::vector<ExpertId>> experts(num_ranks());
  for (std::size_t rank = 0; rank < num_ranks(); ++rank) {
    experts[rank].reserve(slots_end(rank) - slots_begin(rank));
    for (std::uint32_t slot = slots_begin(rank); slot < slots_end(rank); ++slot) {
      if (expert_in_[slot] != nobody) experts[rank].push_back(expert_at(expert_in_[slot]));
    }
  }
  return {epoch, num_experts(), std::move(experts)};
}

}  // namespace moewe
