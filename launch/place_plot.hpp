#pragma once

#include <string>

#include "launch/place_result.hpp"

namespace moewe {

/// A picture of a result as SVG that needs no other file: a line for each way to place, largest over mean
/// rank load at the best split by layers, on a scale of powers of ten of what it is above 1, and below them
/// what no placement can be below.
std::string place_plot(const PlaceResult& result);

}  // namespace moewe
