#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "comm/topology.hpp"
#include "placement/placement.hpp"

namespace moewe {

/// On how many ranks and nodes tokens have experts, summed over them.
struct TokenReach {
  std::int64_t tokens = 0;
  std::int64_t nodes = 0;
  std::int64_t ranks = 0;
};

/// Counted from choices of tokens, [tokens][top_k], of one layer. Assignments are split for these choices as
/// split_loads() has it, and slots serve them in the order of tokens: an expert's first slot the first ones
/// and so on. Throws InvalidInput as CoActivation::add does, and where `topology` is not of the placement's
/// ranks.
TokenReach count_reach(const Placement& placement, const Topology& topology, std::span<const ExpertId> ids,
                       std::size_t top_k);

}  // namespace moewe
