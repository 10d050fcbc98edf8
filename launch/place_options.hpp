#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "placement/plan.hpp"

namespace moewe {

/// How a layer's experts are placed.
enum class PlaceAlgorithm { contiguous, eplb, eplb_hierarchical, moewe, robust };

/// Whether it is one of our own, which can bring experts together.
bool is_planned(PlaceAlgorithm algorithm);

enum class MapFormat { moewe, sglang, tensorrt_llm };

/// What `moewe place` was asked for.
struct PlaceOptions {
  std::filesystem::path loads;
  std::optional<std::filesystem::path> score;  ///< none: placements are judged by the loads they are made for
  std::optional<std::filesystem::path> from;
  std::optional<std::filesystem::path> cost;  ///< coefficients, for predicted times
  std::optional<std::filesystem::path> out;
  std::optional<std::filesystem::path> json;
  std::optional<std::filesystem::path> plot;
  MapFormat out_format = MapFormat::moewe;
  std::optional<PlaceAlgorithm> algorithm;  ///< none: all that can be had are compared
  std::optional<std::size_t> experts;       ///< of a trace; none: as many as its ids need
  std::size_t ranks = 0;
  std::size_t slots_per_rank = 0;
  std::size_t nodes = 1;
  std::size_t groups = 1;
  std::optional<std::uint64_t> expert_bytes;  ///< weights of one expert
  std::optional<std::uint64_t> step_tokens;   ///< that times are predicted for; none: as many as a window has
  std::optional<Millionths> target;           ///< largest over mean rank load at which planning stops
  std::uint64_t seed = 1;                     ///< of drift
  bool co_activation = false;                 ///< experts that tokens choose together come together
  bool help = false;

  /// Whether there are groups of experts to be kept on nodes.
  bool has_homes() const { return groups > 1 && nodes > 1; }
};

/// Throws InvalidInput with one sentence for anything that cannot be used.
PlaceOptions parse_place_options(const std::vector<std::string>& arguments);

std::string place_help();

/// As it would be typed.
const char* name_of(PlaceAlgorithm algorithm);

}  // namespace moewe
