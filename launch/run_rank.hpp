#pragma once

#include "comm/backend.hpp"
#include "launch/options.hpp"

namespace moewe {

/// One rank of `moewe run`, from the opened files to the summary. Collective: all ranks pass the same
/// options, but for paths and threads. Throws a shared InvalidInput for bad input, a shared
/// Error(verification) when results are not what they must be, and any other Error with rank, step, layer and
/// phase in its text.
void run_rank(Communicator& communicator, const Backend& backend, const RunOptions& options);

}  // namespace moewe
