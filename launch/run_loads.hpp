#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include "comm/topology.hpp"
#include "launch/placement_map.hpp"
#include "placement/load_history.hpp"
#include "runtime/model_config.hpp"

namespace moewe {

/// Local. What earlier runs of a model recorded, from any file that read_loads() reads. Throws InvalidInput,
/// which begins with the path, where it is of other numbers of layers or experts than the model.
LoadHistory read_loads_of(const ModelConfig& model, const std::filesystem::path& path);

/// Nothing has happened yet.
LoadHistory new_history(const ModelConfig& model);

/// A placement for each layer in which anything was computed, on as many slots of each rank as contiguous
/// experts take and `num_spares` more. The same wherever it is computed.
PlacementMap plan_for(const LoadHistory& history, const Topology& topology, std::size_t num_spares);

/// Throws InvalidInput, which begins with `where`, where there are loads of other layers than `layers`: a
/// window without them would not be what it seems.
void require_loads_of(std::span<const std::size_t> layers, const LoadHistory& history,
                      const std::string& where);

/// Equal for equal histories, different, but for a chance of 2^-64, otherwise.
std::string digest(const LoadHistory& history);

}  // namespace moewe
