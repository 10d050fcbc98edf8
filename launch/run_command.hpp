#pragma once

#include <string>
#include <vector>

namespace moewe {

/// `moewe run`. Returns the process's exit code.
int run_command(const std::vector<std::string>& arguments);

}  // namespace moewe
