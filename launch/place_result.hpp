#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launch/place_problem.hpp"

namespace moewe {

/// How good one placement of a layer is. Imbalances are largest over mean rank load.
struct LayerScore {
  std::size_t layer = 0;
  double equal = 1;    ///< where copies share an expert's load equally
  double optimal = 1;  ///< where it is split among them at best
  /// Time of the slowest rank over the least there could be, where load is split at best for ranks that are
  /// not equally fast; 0 where they are.
  double in_time = 0;
  double bound = 1;  ///< what no placement on these slots is below
  std::size_t duplicates = 0;
  std::size_t arrivals = 0;  ///< 0 where there is no placement in use
  std::size_t foreign = 0;   ///< slots of experts whose group is at home on another node

  double step_s = 0;  ///< that a step of the layer takes, as predicted; 0 without costs
  /// On which it has experts: counted where tokens are known, else to be expected; 0 without tokens and
  /// costs.
  double nodes_per_token = 0;
  double ranks_per_token = 0;  ///< counted; 0 where tokens are not known

  double over_bound() const { return optimal / bound; }
};

/// One way to place all layers.
struct PlaceContestant {
  std::string name;
  std::optional<double>
      planning_s;  ///< of a processor, for all layers; none: this placement was there already
  std::vector<LayerScore> layers;
};

/// What `moewe place` found out.
struct PlaceResult {
  PlaceOptions options;
  std::size_t num_layers = 0;  ///< with load
  std::size_t num_experts = 0;
  std::string tokens;  ///< file of those that nodes and ranks were counted for
  std::vector<PlaceContestant> contestants;
};

/// Judges a placement of a layer.
LayerScore score_layer(const PlaceProblem& problem, std::size_t layer, const Placement& placement);

std::string place_json(const PlaceResult& result);

/// For people: a table.
std::string place_text(const PlaceResult& result);

}  // namespace moewe
