#pragma once

#include <filesystem>
#include <vector>

namespace moewe {

struct RunOptions;

/// Local. Throws InvalidInput where a run would write what it reads, beside its options also `read`, or
/// would write one file as two, or would change what it could not be resumed without. Placement and loads may
/// be kept where they came from: they have been read whole by then, and take the place of what was there once
/// they are written.
void check_run_files(const RunOptions& options, std::vector<std::filesystem::path> read);

}  // namespace moewe
