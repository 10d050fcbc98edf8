#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launch/place_options.hpp"
#include "launch/place_tokens.hpp"
#include "launch/placement_map.hpp"
#include "placement/load_history.hpp"
#include "placement/speeds.hpp"
#include "placement/time_cost.hpp"

namespace moewe {

/// What `moewe place` decides about. Placements of layers in which nothing was chosen are not judged.
class PlaceProblem {
 public:
  /// Reads and checks all files. Throws InvalidInput where they do not fit together.
  explicit PlaceProblem(const PlaceOptions& options);

  const PlaceOptions& options() const { return options_; }
  const Topology& topology() const { return space_.topology; }

  /// Of the ranks, as --cost has them; else all alike.
  const RankSpeeds& speeds() const { return speeds_; }
  std::size_t num_layers() const { return loads_.num_layers(); }
  std::size_t num_experts() const { return loads_.num_experts(); }

  /// Layers in which anything was chosen, by both the loads to place for and those to judge by.
  const std::vector<std::size_t>& loaded_layers() const { return loaded_; }

  /// Per expert: what placements are made for, and what they are judged by.
  const std::vector<std::int64_t>& loads(std::size_t layer) const { return loads_.total()[layer]; }
  const std::vector<std::int64_t>& score(std::size_t layer) const;

  /// What times are predicted by, or null; and a step that they are predicted for, [ranks][experts]: by
  /// sources where these are known, else in equal parts of all.
  const CostCoefficients* costs() const { return costs_ ? &*costs_ : nullptr; }
  std::vector<std::int64_t> step_counts(std::size_t layer) const;

  /// The placement in use, or null.
  const Placement* from(std::size_t layer) const;

  /// A layer's placement as an algorithm would have it. Throws InvalidInput where it cannot.
  Placement place(PlaceAlgorithm algorithm, std::size_t layer) const;

  /// `placement` of a layer after experts that tokens choose together came together; with --co-activation.
  Placement together(const Placement& placement, std::size_t layer) const;

  /// What tokens chose, or null without --co-activation.
  const PlaceTokens* tokens() const { return tokens_ ? &*tokens_ : nullptr; }

  /// The file of the tokens to judge by; empty without --co-activation.
  std::string judged_tokens() const { return tokens_ ? tokens_->judged_file() : std::string(); }

  /// The algorithms that are compared: the one asked for, or all that can be had.
  std::vector<PlaceAlgorithm> algorithms() const;

 private:
  Placement plan(std::size_t layer) const;
  Placement plan_from(const Placement& from, std::size_t layer) const;
  Placement plan_robust(std::size_t layer) const;
  void read_from();

  PlaceOptions options_;
  SlotSpace space_;
  RankSpeeds speeds_;
  LoadHistory loads_;
  std::optional<LoadHistory> score_;
  std::optional<CostCoefficients> costs_;
  std::optional<PlaceTokens> tokens_;
  PlacementMap from_;
  std::vector<std::size_t> loaded_;
};

/// Expert e of E on rank floor(e R / E) where each has one slot; where there are more slots, they hold the
/// first experts once more, and so on, as slot p does expert p mod E.
Placement contiguous_with_spares(std::size_t num_experts, std::size_t num_ranks, std::size_t slots_per_rank);

}  // namespace moewe
