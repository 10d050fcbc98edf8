#include "launch/place_result.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace moewe {

Summary summary_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto count = static_cast<double>(values.size());
  const auto at_p95 = static_cast<std::size_t>(std::ceil(0.95 * count)) - 1;
  return {std::accumulate(values.begin(), values.end(), 0.0) / count, values[at_p95], values.back()};
}

bool has_speeds(const PlaceResult& result) {
  return summary_of(result.contestants.front(), &LayerScore::in_time).worst > 0;
}

bool has_nodes_per_token(const PlaceOptions& options) {
  return options.co_activation || (options.cost && options.nodes > 1 && options.groups == 1);
}

double total_step_s(const PlaceContestant& contestant) {
  return summary_of(contestant, &LayerScore::step_s).mean * static_cast<double>(contestant.layers.size());
}

std::uint64_t total_arrivals(const PlaceContestant& contestant) {
  std::uint64_t total = 0;
  for (const LayerScore& layer : contestant.layers) total += layer.arrivals;
  return total;
}

}  // namespace moewe
