#pragma once

#include <cstddef>
#include <vector>

#include "placement/expert_id.hpp"
#include "runtime/combine.hpp"
#include "runtime/routing.hpp"

namespace moewe::bench {

/// One rank's part of what every contestant does: its tokens go to their experts and the weighted sum of what
/// these make of them comes back. Experts are placed contiguously.
struct ExchangeCase {
  std::size_t num_tokens = 0;
  std::size_t top_k = 0;
  std::size_t num_experts = 0;
  RowFormat format;
  Combine combine = Combine::reproducible;
  std::vector<std::byte> x;       ///< [num_tokens, hidden] in the format's dtype
  std::vector<ExpertId> experts;  ///< [num_tokens, top_k]
  std::vector<float> weights;     ///< [num_tokens, top_k]

  Routing routing() const { return {num_tokens, top_k, experts, weights, {}}; }
};

}  // namespace moewe::bench
