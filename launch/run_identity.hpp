#pragma once

#include <string>

#include "comm/topology.hpp"
#include "launch/run_inputs.hpp"

namespace moewe {

struct RunOptions;

/// A line for everything that the results of a run depend on, as far as it can be told without computing, for
/// comparison with another run's: what was asked for, model and input as their headers have them, and the
/// instruction set; ranks and paths only where sums depend on them.
std::string identity_of(const RunInputs& inputs, const RunOptions& options, const Topology& topology,
                        const Device* device);

}  // namespace moewe
