#include "launch/rebalance_request.hpp"

#include <fmt/format.h>

#include "comm/error.hpp"
#include "launch/parse_number.hpp"

namespace moewe {

RebalanceRequest parse_rebalance(const std::string& text) {
  if (text == "off") return {};
  if (text == "auto") return {.mode = RebalanceMode::automatic};
  constexpr std::string_view every = "every:";
  constexpr std::uint64_t most = 1'000'000'000;
  const auto steps = text.rfind(every, 0) == 0 ? parse_number(text.substr(every.size())) : std::nullopt;
  if (!steps || *steps < 1 || *steps > most) {
    throw InvalidInput(
        fmt::format("--rebalance must be off, auto, or every:N with N from 1 to {}, not '{}'", most, text));
  }
  return {.mode = RebalanceMode::every, .every = *steps};
}

void parse_measure(const std::string& text, RebalanceRequest& request) {
  request.measures_speeds = text == "speeds" || text == "all";
  request.measures_costs = text == "costs" || text == "all";
  if (text != describe_measure(request))
    throw InvalidInput(fmt::format("--measure must be off, speeds, costs or all, not '{}'", text));
}

const char* describe_measure(const RebalanceRequest& request) {
  if (request.measures_speeds) return request.measures_costs ? "all" : "speeds";
  return request.measures_costs ? "costs" : "off";
}

std::string describe(const RebalanceRequest& request) {
  switch (request.mode) {
    case RebalanceMode::off:
      return "off";
    case RebalanceMode::automatic:
      return "auto";
    case RebalanceMode::every:
      return fmt::format("every:{}", request.every);
  }
  return "";
}

}  // namespace moewe
