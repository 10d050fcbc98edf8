#include "launch/exchange_choice.hpp"

#include <fmt/format.h>

#include "launch/human.hpp"

namespace moewe {
namespace {

/// A carrier takes the first one's place only if it needs less than this share of its time.
constexpr double clearly_quicker = 0.8;

/// Between nodes; empty where the quicker path is.
std::optional<PathKind> path_asked_for(PathRequest request) {
  if (request == PathRequest::message) return PathKind::message;
  if (request == PathRequest::two_level) return PathKind::two_level;
  return std::nullopt;
}

double seconds_of(const Topology& topology, const PathBasis& basis, PathRequest request) {
  const bool messages_inside = request == PathRequest::message || !basis.memory;
  return PathForecasts(topology, basis).seconds_of_messages(path_asked_for(request), messages_inside);
}

std::string figures(const CarrierCosts& carrier) {
  const auto& link = carrier.between_nodes ? carrier.between_nodes : carrier.inside_nodes;
  if (!link) return carrier.carrier;
  const double us = link->latency_s * 1e6;
  return fmt::format("{} {} and {}", carrier.carrier, human(1 / link->s_per_byte, "B/s"),
                     us < 1000 ? fmt::format("{:.3g} us", us) : fmt::format("{:.3g} ms", us / 1000));
}

/// "mpi 117 MB/s and 30 us, ucx 110 MB/s and 40 us".
std::string figures(const std::vector<CarrierCosts>& carriers) {
  std::string text;
  for (const CarrierCosts& carrier : carriers) text += (text.empty() ? "" : ", ") + figures(carrier);
  return text;
}

/// Which of the calibration's carriers.
std::size_t quickest(const Topology& topology, const Calibration& calibration,
                     const ExpectedTraffic& traffic) {
  std::size_t best = 0;
  double least = 0;
  for (std::size_t i = 0; i < calibration.carriers.size(); ++i) {
    const PathBasis basis{traffic, calibration.costs->carriers[i], calibration.costs->memory};
    const double seconds = seconds_of(topology, basis, calibration.request.path);
    if (i > 0 && seconds >= clearly_quicker * least) continue;
    best = i;
    least = seconds;
  }
  return best;
}

}  // namespace

ExchangeChoice choose_exchange(const Topology& topology, const Calibration& calibration,
                               const ExpectedTraffic& traffic) {
  const bool is_asked_for = calibration.request.carrier != CarrierRequest::automatic;
  if (!calibration.costs) {
    ExchangeChoice choice{calibration.carriers.front(), std::nullopt};
    choice.backend.carrier_reason = is_asked_for ? "asked for" : calibration.reason_for_none;
    return choice;
  }
  const std::size_t best = quickest(topology, calibration, traffic);
  ExchangeChoice choice{calibration.carriers[best],
                        PathBasis{traffic, calibration.costs->carriers[best], calibration.costs->memory}};
  const bool is_only_one = calibration.carriers.size() == 1;
  choice.backend.carrier_reason = is_asked_for  ? "asked for"
                                  : is_only_one ? "no other can be used"
                                                : figures(calibration.costs->carriers);
  return choice;
}

}  // namespace moewe
