#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace moewe {

/// {"p50", "p90", "p99"}.
nlohmann::ordered_json percentiles_json(const std::vector<double>& values);

/// Round by round: "median (p10-p90)" of the one over the other.
std::string ratio_text(const std::vector<double>& over, const std::vector<double>& under);

}  // namespace moewe
