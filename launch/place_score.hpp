#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "launch/place_problem.hpp"
#include "launch/place_tokens.hpp"

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

/// Judges placements of one layer: what they are all judged by is read and computed once.
class LayerJudge {
 public:
  /// Borrows the problem. Throws InvalidInput where a trace of tokens can no longer be read, and for a step
  /// of more tokens than loads can count.
  LayerJudge(const PlaceProblem& problem, std::size_t layer);

  LayerScore score(const Placement& placement) const;

 private:
  const std::vector<std::int64_t>& loads() const { return problem_.score(layer_); }
  double imbalance_in_time(const Placement& placement) const;
  void predict_time(const Placement& placement, LayerScore& score) const;
  void count_tokens(const Placement& placement, LayerScore& score) const;

  const PlaceProblem& problem_;
  std::size_t layer_;
  std::int64_t total_;                     // of the loads
  double mean_;                            // of a rank
  double bound_;                           // of imbalance
  std::vector<std::int64_t> step_counts_;  // with costs
  std::optional<TokenChoices> choices_;    // with --co-activation
};

}  // namespace moewe
