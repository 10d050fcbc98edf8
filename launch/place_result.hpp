#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "launch/place_options.hpp"
#include "launch/place_score.hpp"

namespace moewe {

/// One way to place all layers.
struct PlaceContestant {
  std::string name;
  std::optional<double> planning_s;  ///< of CPU time, for all layers; none: it was there already
  std::vector<LayerScore> layers;    ///< those with load, ascending
};

/// Over a contestant's layers.
struct Summary {
  double mean = 0;
  double p95 = 0;
  double worst = 0;
};

/// Of one value at least.
Summary summary_of(std::vector<double> values);

/// Of what is a member of LayerScore, or a function of one.
template <typename Value>
Summary summary_of(const PlaceContestant& contestant, Value value) {
  std::vector<double> values;
  for (const LayerScore& layer : contestant.layers)
    values.push_back(static_cast<double>(std::invoke(value, layer)));
  return summary_of(std::move(values));
}

/// What `moewe place` found out.
struct PlaceResult {
  PlaceOptions options;
  std::size_t num_layers = 0;  ///< with load
  std::size_t num_experts = 0;
  std::string tokens;  ///< file of those that nodes and ranks were counted for
  std::vector<PlaceContestant> contestants;
};

/// Whether ranks are told apart by how fast they are.
bool has_speeds(const PlaceResult& result);

/// Whether it is known on how many nodes a token has experts. Counts do not tell it where tokens take few
/// groups of experts.
bool has_nodes_per_token(const PlaceOptions& options);

/// Of all layers of a contestant: seconds that a step of theirs takes, and experts that come to a rank.
double total_step_s(const PlaceContestant& contestant);
std::uint64_t total_arrivals(const PlaceContestant& contestant);

std::string place_json(const PlaceResult& result);

/// For people: a table.
std::string place_text(const PlaceResult& result);

}  // namespace moewe
