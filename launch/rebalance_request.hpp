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
  bool measures_speeds = false;  ///< of ranks, and not only counts decide
  bool measures_costs = false;   ///< of moves, rather than to assume them
  std::size_t budget_bytes = 0;  ///< of weights that a rank sends in one step of a layer; 0: automatic

  bool is_on() const { return mode != RebalanceMode::off; }
};

/// "off", "auto", "every:N". Throws InvalidInput for anything else.
RebalanceRequest parse_rebalance(const std::string& text);

/// Takes "off", "speeds", "costs" or "all" for what is measured. Throws InvalidInput for anything else.
void parse_measure(const std::string& text, RebalanceRequest& request);

// As they would be typed.
std::string describe(const RebalanceRequest& request);
const char* describe_measure(const RebalanceRequest& request);

}  // namespace moewe
