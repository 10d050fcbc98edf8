#pragma once

#include "comm/rank.hpp"
#include "runtime/token_range.hpp"

namespace moewe {

/// Tokens of a step are split over the ranks in order and as evenly as can be; any number of them, none
/// included.
inline TokenRange tokens_of_rank(std::size_t num_tokens, std::size_t num_ranks, Rank rank) {
  const std::size_t first = num_tokens * index(rank) / num_ranks;
  const std::size_t end = num_tokens * (index(rank) + 1) / num_ranks;
  return {first, end - first};
}

}  // namespace moewe
