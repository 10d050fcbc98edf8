#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "comm/topology.hpp"
#include "placement/placement.hpp"
#include "placement/split.hpp"

namespace moewe::bench {

/// A router that keeps each token within few groups of experts.
struct GroupedRouter {
  std::size_t num_groups = 8;
  std::size_t kept_groups = 4;
  std::size_t top_k = 8;
};

/// Tokens that draw groups and then experts in proportion to their loads, [tokens][top_k]. Only loads were
/// recorded; which experts real tokens chose together is not known.
std::vector<std::vector<std::size_t>> draw_tokens(const std::vector<std::int64_t>& loads,
                                                  const GroupedRouter& router, std::size_t tokens,
                                                  std::uint64_t seed);

/// Nodes that a token reaches in the mean, where each assignment goes to one of its expert's slots: at random
/// in the proportion of the split's shares, or, token-aware, to a node that the token reaches anyway if one
/// has a slot with a share. The latter is a limit: it does not count how many a slot may still take.
double nodes_per_token(const std::vector<std::vector<std::size_t>>& tokens, const Placement& placement,
                       const Topology& topology, const Split& split, bool is_token_aware);

}  // namespace moewe::bench
