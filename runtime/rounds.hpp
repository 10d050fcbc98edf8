#pragma once

#include <cstddef>

#include "runtime/agree.hpp"
#include "runtime/lane.hpp"

namespace moewe {

/// What bounds the memory of a step's rounds on one rank, before it is known how its tokens' assignments
/// fall.
struct StepBounds {
  std::size_t num_tokens = 0;           ///< over all ranks
  std::size_t most_tokens_of_rank = 0;  ///< of the rank with the most
  std::size_t num_ranks = 0;
  std::size_t top_k = 0;
  std::size_t num_expected = 0;          ///< by this rank's slots, in the whole step
  std::size_t num_expected_on_node = 0;  ///< the same for all ranks of this rank's node
  std::size_t row_bytes = 0;
  bool is_audited = false;
  Combine combine = Combine::reproducible;
  Flow flow = {};
};

/// Adds the memory of one round of these sizes on this lane: plan and exchange. What a round allocates is no
/// more and no less.
void plan_round_memory(const Lane& lane, const RoundSizes& sizes, MemoryPlan& memory);

/// Most bytes that this rank's lane can have taken when a step is over in which every rank splits its tokens
/// into `num_rounds` equal parts, wherever their assignments go: what it holds now counts, too.
std::size_t most_round_bytes(const Lane& lane, const StepBounds& bounds, std::size_t num_rounds);

/// The fewest rounds whose memory stays within `budget`; 0 if not even one token per round does.
std::size_t fewest_rounds(const Lane& lane, const StepBounds& bounds, std::size_t budget);

}  // namespace moewe
