#pragma once

#include "launch/option_values.hpp"
#include "launch/options.hpp"

namespace moewe {

/// Where experts are, whether they move, and what of it is kept: reads --placement, --loads,
/// --save-placement, --save-loads, --rebalance and what belongs to it into `options`, whose other options
/// have been read. Throws InvalidInput with one sentence.
void parse_placement_options(const OptionValues& values, RunOptions& options);

}  // namespace moewe
