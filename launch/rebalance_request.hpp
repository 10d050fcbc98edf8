#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "placement/rebalance.hpp"

namespace moewe {

/// What `moewe run` was asked for about moving experts.
struct RebalanceRequest {
  RebalanceMode mode = RebalanceMode::off;
  std::uint64_t every = 0;       ///< steps, in that mode
  std::size_t spare_slots = 0;   ///< on each rank, for copies
  std::size_t budget_bytes = 0;  ///< of weights that a rank sends in one step of a layer; 0: automatic

  bool is_on() const { return mode != RebalanceMode::off; }
};

/// "off", "auto", "every:N". Throws InvalidInput for anything else.
RebalanceRequest parse_rebalance(const std::string& text);

/// As it would be typed.
std::string describe(const RebalanceRequest& request);

}  // namespace moewe
