#pragma once

#include <string>
#include <vector>

namespace moewe {

/// `moewe place ARGUMENTS...`. Without MPI: where a launcher starts several, the first process does it all.
/// Returns the process's exit code. Throws InvalidInput.
int place_command(const std::vector<std::string>& arguments);

}  // namespace moewe
