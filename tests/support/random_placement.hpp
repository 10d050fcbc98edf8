#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <random>
#include <vector>

#include "placement/placement.hpp"

namespace moewe::test {

/// Whether a rank may have slots with the same expert.
enum class Duplicates { none, some };

/// Every expert on some ranks, in one to three slots, and in any order on each rank. Of epoch `seed` unless
/// one is given.
inline Placement random_placement(std::size_t num_experts, std::size_t num_ranks, std::uint64_t seed,
                                  Duplicates duplicates = Duplicates::some,
                                  std::optional<std::uint64_t> epoch = {}) {
  std::mt19937_64 random(seed);
  std::vector<std::vector<ExpertId>> experts(num_ranks);
  for (std::size_t e = 0; e < num_experts; ++e) {
    for (std::uint64_t copies = random() % 3 + 1; copies > 0; --copies) {
      std::vector<ExpertId>& held = experts[random() % num_ranks];
      const bool is_there = !held.empty() && held.back() == expert_at(e);
      if (!is_there || duplicates == Duplicates::some) held.push_back(expert_at(e));
    }
  }
  for (std::vector<ExpertId>& of_rank : experts) std::shuffle(of_rank.begin(), of_rank.end(), random);
  return {epoch.value_or(seed), num_experts, std::move(experts)};
}

}  // namespace moewe::test
