#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

#include "placement/time_cost.hpp"

namespace moewe {

/// What a layer's steps cost, from a JSON file; all times in picoseconds, whole and from 0:
///
///   {"moewe_costs": 1, "top_k": 8, "tile_rows": 16, "row_ps": 90000, "weight_read_ps": 20000000,
///    "expert_ps": 3000000, "inside_nodes": {"dispatch_row_ps": 40000, "return_row_ps": 80000},
///    "between_nodes": {"dispatch_row_ps": 290000, "return_row_ps": 580000}, "combine": "reproducible",
///    "slowness": [1000000, 1250000]}
///
/// `combine` is reproducible (an output row for each assignment comes back) or fast (one for each token and
/// rank). `slowness` may be missing; it has a number for each of `num_ranks`, in millionths. Nothing else may
/// stand there. Throws InvalidInput that begins with the path.
CostCoefficients read_costs(const std::filesystem::path& path, std::size_t num_ranks);

/// The same for the text of a file. Throws InvalidInput that begins with `where`.
CostCoefficients parse_costs(const std::string& text, std::size_t num_ranks, const std::string& where);

/// As a file keeps them: what is read from it equals what was written.
std::string to_json(const CostCoefficients& costs);

}  // namespace moewe
