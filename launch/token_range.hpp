#pragma once

#include <cstddef>

#include "comm/rank.hpp"

namespace moewe {

/// Some of a step's tokens, by their numbers over all ranks.
struct TokenRange {
  std::size_t first = 0;
  std::size_t count = 0;

  std::size_t end() const { return first + count; }
};

/// Tokens are split over the ranks in order and as evenly as can be; any number of them, none included.
inline TokenRange tokens_of_rank(std::size_t num_tokens, std::size_t num_ranks, Rank rank) {
  const std::size_t first = num_tokens * index(rank) / num_ranks;
  const std::size_t end = num_tokens * (index(rank) + 1) / num_ranks;
  return {first, end - first};
}

}  // namespace moewe
