#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "comm/rank_status.hpp"

namespace moewe {

/// "rank 2 on node1: step 3, layer 1, phase dispatch, waits for rank 0 (rows)"
std::string describe(const RankState& state);

/// A line per rank, ended by line breaks: where it is, for whom it waits, and since when.
std::string wait_matrix(std::span<const RankState> states);

enum class HangReason { stopped, dead, slow, disagrees, unreachable };

const char* name_of(HangReason reason);

/// Who holds up the others.
struct Culprit {
  std::size_t rank = 0;  ///< number among the states
  HangReason reason = HangReason::slow;
};

/// The rank at the end of the chain of who waits for whom, which begins with rank `first`: one that waits for
/// nobody, or cannot go on whatever it waits for. Where the chain ends with a wait for all alike, or comes
/// back to itself, the one that holds up all; where all only wait, the one that is elsewhere than the others.
/// `states` holds every rank of the job, in rank order.
Culprit find_culprit(std::span<const RankState> states, std::size_t first);

}  // namespace moewe
