#include "placement/placement.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>
#include <optional>
#include <utility>
#include <xxhash.h>

#include "comm/error.hpp"

namespace moewe {
namespace {

std::vector<Slot> slots_by_expert(std::size_t num_experts,
                                  const std::vector<std::vector<ExpertId>>& experts_of_rank) {
  std::vector<std::optional<Slot>> slots(num_experts);
  for (std::size_t rank = 0; rank < experts_of_rank.size(); ++rank) {
    for (std::size_t position = 0; position < experts_of_rank[rank].size(); ++position) {
      const ExpertId expert = experts_of_rank[rank][position];
      if (number(expert) < 0 || index(expert) >= num_experts) {
        throw InvalidInput(fmt::format("placement: rank {} holds expert {}, but experts go from 0 to {}",
                                       rank, number(expert), static_cast<std::int64_t>(num_experts) - 1));
      }
      std::optional<Slot>& slot = slots[index(expert)];
      if (slot) {
        throw InvalidInput(fmt::format("placement: expert {} is on rank {} and again on rank {}",
                                       number(expert), number(slot->rank), rank));
      }
      slot = Slot{rank_at(rank), static_cast<std::uint32_t>(position)};
    }
  }
  std::vector<Slot> complete;
  for (std::size_t expert = 0; expert < num_experts; ++expert) {
    if (!slots[expert]) throw InvalidInput(fmt::format("placement: expert {} is on no rank", expert));
    complete.push_back(*slots[expert]);
  }
  return complete;
}

std::uint64_t digest_of(std::uint64_t epoch, std::size_t num_ranks, const std::vector<Slot>& slots) {
  std::vector<std::uint64_t> words{epoch, num_ranks, slots.size()};
  for (const Slot& slot : slots) {
    words.push_back(index(slot.rank));
    words.push_back(slot.position);
  }
  return XXH3_64bits(words.data(), words.size() * sizeof(std::uint64_t));
}

}  // namespace

Placement::Placement(std::uint64_t epoch, std::size_t num_experts,
                     std::vector<std::vector<ExpertId>> experts_of_rank)
    : epoch_(epoch),
      experts_of_rank_(std::move(experts_of_rank)),
      slot_of_expert_(slots_by_expert(num_experts, experts_of_rank_)),
      digest_(digest_of(epoch_, experts_of_rank_.size(), slot_of_expert_)) {}

std::vector<std::int64_t> Placement::rank_loads(std::span<const std::int64_t> load_per_expert) const {
  std::vector<std::int64_t> loads(num_ranks(), 0);
  for (std::size_t expert = 0; expert < load_per_expert.size(); ++expert) {
    loads[index(slot_of(expert_at(expert)).rank)] += load_per_expert[expert];
  }
  return loads;
}

Placement contiguous_placement(std::size_t num_experts, std::size_t num_ranks) {
  std::vector<std::vector<ExpertId>> experts_of_rank(num_ranks);
  for (std::size_t expert = 0; expert < num_experts; ++expert) {
    experts_of_rank[expert * num_ranks / num_experts].push_back(expert_at(expert));
  }
  return {0, num_experts, std::move(experts_of_rank)};
}

double imbalance(std::span<const std::int64_t> rank_loads) {
  const std::int64_t total = std::accumulate(rank_loads.begin(), rank_loads.end(), std::int64_t{0});
  if (total == 0) return 1.0;
  const std::int64_t largest = *std::max_element(rank_loads.begin(), rank_loads.end());
  return static_cast<double>(largest) * static_cast<double>(rank_loads.size()) / static_cast<double>(total);
}

}  // namespace moewe
