#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "launch/forced_routing.hpp"

namespace moewe {

/// What chooses the experts: the router unless one of these is set.
struct RoutingChoice {
  std::optional<ForcedRoutingSpec> forced;
  std::optional<std::filesystem::path> trace;

  bool is_forced() const { return forced || trace; }
};

/// "router", "zipf:1", "trace:FILE". Throws InvalidInput.
RoutingChoice parse_routing(const std::string& text);

/// As it would be typed.
std::string describe(const RoutingChoice& routing);

}  // namespace moewe
