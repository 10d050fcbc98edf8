#pragma once

#include <string>
#include <vector>

namespace moewe {

/// `moewe bench NAME ARGUMENTS...`. Returns the process's exit code.
int bench_command(const std::vector<std::string>& arguments);

}  // namespace moewe
