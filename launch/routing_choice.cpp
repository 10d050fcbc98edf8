#include "launch/routing_choice.hpp"

#include <string_view>

#include "comm/error.hpp"

namespace moewe {

RoutingChoice parse_routing(const std::string& text) {
  if (text == "router") return {};
  constexpr std::string_view trace = "trace:";
  if (text.rfind(trace, 0) != 0) return {.forced = parse_forced_routing(text), .trace = {}};
  const std::string file = text.substr(trace.size());
  if (file.empty()) throw InvalidInput("--routing trace:FILE needs a file");
  return {.forced = {}, .trace = file};
}

std::string describe(const RoutingChoice& routing) {
  if (routing.trace) return "trace:" + routing.trace->string();
  return routing.forced ? describe(*routing.forced) : "router";
}

}  // namespace moewe
