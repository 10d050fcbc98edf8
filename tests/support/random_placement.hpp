#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "placement/placement.hpp"

namespace moewe::test {

/// Every expert on some ranks, one to three times, and now and then twice on one; in any order on each rank.
inline Placement random_placement(std::size_t num_experts, std::size_t num_ranks, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::vector<ExpertId>> experts(num_ranks);
  for (std::size_t e = 0; e < num_experts; ++e) {
    for (std::uint64_t copies = random() % 3 + 1; copies > 0; --copies)
      experts[random() % num_ranks].push_back(expert_at(e));
  }
  for (std::vector<ExpertId>& of_rank : experts) std::shuffle(of_rank.begin(), of_rank.end(), random);
  return {seed, num_experts, std::move(experts)};
}

}  // namespace moewe::test
