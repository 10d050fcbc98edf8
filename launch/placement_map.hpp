#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "placement/placement.hpp"

namespace moewe {

/// Placements of a model's layers, by their numbers; at least one, all of the same experts and ranks.
using PlacementMap = std::map<std::size_t, Placement>;

/// What a file of placements is read for. Formats that only list slots leave ranks to the reader.
struct MapReader {
  std::size_t num_ranks = 1;
  std::optional<std::size_t> num_experts;  ///< none: as many as the largest id in the file needs
};

/// From a file of any of these kinds:
/// - Moewe's own (moewe_map): ranks may have different numbers of slots;
/// - JSON with "physical_to_logical_map" [layers][slots], as SGLang reads it;
/// - YAML with "initial_global_assignments", as TensorRT-LLM reads it (launch/tensorrt_map.hpp).
/// In the last two, rank = slot div (slots / ranks). Throws InvalidInput that begins with the path, also
/// where an expert has no slot.
PlacementMap read_placement_map(const std::filesystem::path& path, const MapReader& reader);

/// The same for the text of a file. Throws InvalidInput that begins with `where`.
PlacementMap parse_placement_map(const std::string& text, const MapReader& reader, const std::string& where);

// The text of such files; what is read from them has the same slots. SGLang's needs all layers from 0 on, and
// both others' equally many slots on every rank: they throw InvalidInput for anything else.

std::string moewe_map(const PlacementMap& map);
std::string sglang_map(const PlacementMap& map);
std::string tensorrt_map(const PlacementMap& map);

/// Equal for equal maps, different, but for a chance of 2^-64, otherwise.
std::string digest(const PlacementMap& map);

}  // namespace moewe
