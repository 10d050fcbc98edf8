#include "placement/placement.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <functional>
#include <numeric>
#include <utility>
#include <xxhash.h>

#include "comm/error.hpp"

namespace moewe {
namespace {

using ExpertsOfRank = std::vector<std::vector<ExpertId>>;

template <typename Visit>
void for_each_slot(const ExpertsOfRank& experts_of_rank, Visit&& visit) {
  for (std::size_t rank = 0; rank < experts_of_rank.size(); ++rank) {
    for (std::size_t position = 0; position < experts_of_rank[rank].size(); ++position)
      visit(experts_of_rank[rank][position], Slot{rank_at(rank), static_cast<std::uint32_t>(position)});
  }
}

void require_known(ExpertId expert, const Slot& slot, std::size_t num_experts) {
  if (number(expert) >= 0 && index(expert) < num_experts) return;
  throw InvalidInput(fmt::format("placement: rank {} holds expert {}, but experts go from 0 to {}",
                                 number(slot.rank), number(expert),
                                 static_cast<std::int64_t>(num_experts) - 1));
}

/// And one more, behind the last.
std::vector<std::size_t> first_slots(std::size_t num_experts, const ExpertsOfRank& experts_of_rank) {
  std::vector<std::size_t> first(num_experts + 1, 0);
  for_each_slot(experts_of_rank, [&](ExpertId expert, const Slot& slot) {
    require_known(expert, slot, num_experts);
    ++first[index(expert) + 1];
  });
  for (std::size_t expert = 0; expert < num_experts; ++expert) {
    if (first[expert + 1] == 0) throw InvalidInput(fmt::format("placement: expert {} is on no rank", expert));
    first[expert + 1] += first[expert];
  }
  return first;
}

std::vector<Slot> slots_by_expert(std::vector<std::size_t> next, const ExpertsOfRank& experts_of_rank) {
  std::vector<Slot> slots(next.back());
  for_each_slot(experts_of_rank,
                [&](ExpertId expert, const Slot& slot) { slots[next[index(expert)]++] = slot; });
  return slots;
}

std::vector<std::vector<std::size_t>> numbers_by_rank(const ExpertsOfRank& experts_of_rank,
                                                      std::span<const Slot> slots) {
  std::vector<std::vector<std::size_t>> numbers;
  for (const std::vector<ExpertId>& experts : experts_of_rank) numbers.emplace_back(experts.size());
  for (std::size_t i = 0; i < slots.size(); ++i) numbers[index(slots[i].rank)][slots[i].position] = i;
  return numbers;
}

std::uint64_t digest_of(std::uint64_t epoch, const ExpertsOfRank& experts_of_rank,
                        std::span<const Millionths> slowness) {
  std::vector<std::uint64_t> words{epoch, experts_of_rank.size()};
  for (const std::vector<ExpertId>& experts : experts_of_rank) {
    words.push_back(experts.size());
    for (const ExpertId expert : experts) words.push_back(index(expert));
  }
  words.insert(words.end(), slowness.begin(), slowness.end());
  return XXH3_64bits(words.data(), words.size() * sizeof(std::uint64_t));
}

}  // namespace

Placement::Placement(std::uint64_t epoch, std::size_t num_experts,
                     std::vector<std::vector<ExpertId>> experts_of_rank)
    : epoch_(epoch),
      experts_of_rank_(std::move(experts_of_rank)),
      first_slot_of_expert_(first_slots(num_experts, experts_of_rank_)),
      slots_(slots_by_expert(first_slot_of_expert_, experts_of_rank_)),
      numbers_of_rank_(numbers_by_rank(experts_of_rank_, slots_)),
      digest_(digest_of(epoch_, experts_of_rank_, {})) {}

Placement Placement::with_slowness(std::vector<Millionths> slowness) const {
  Placement other = *this;
  other.slowness_ = std::move(slowness);
  other.digest_ = digest_of(epoch_, experts_of_rank_, other.slowness_);
  return other;
}

std::vector<std::int64_t> Placement::rank_loads(std::span<const std::int64_t> load_per_slot) const {
  std::vector<std::int64_t> loads;
  for (const std::vector<std::size_t>& numbers : numbers_of_rank_) {
    loads.push_back(std::transform_reduce(numbers.begin(), numbers.end(), std::int64_t{0}, std::plus<>(),
                                          [&](std::size_t slot) { return load_per_slot[slot]; }));
  }
  return loads;
}

std::vector<std::int64_t> Placement::expert_loads(std::span<const std::int64_t> load_per_slot) const {
  std::vector<std::int64_t> loads;
  for (std::size_t e = 0; e < num_experts(); ++e) {
    const auto first = load_per_slot.begin() + static_cast<std::ptrdiff_t>(first_slot_of_expert_[e]);
    const auto end = load_per_slot.begin() + static_cast<std::ptrdiff_t>(first_slot_of_expert_[e + 1]);
    loads.push_back(std::accumulate(first, end, std::int64_t{0}));
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
