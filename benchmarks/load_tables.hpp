#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace moewe::bench {

/// Recorded loads of one run: assignments per layer and expert, without layers that have none.
struct LoadTable {
  std::string name;
  std::vector<std::vector<std::int64_t>> layers;
};

/// All tables {"logical_count": [layers][experts]} of a folder, by name. Throws InvalidInput where there is
/// none.
std::vector<LoadTable> read_load_tables(const std::string& folder);

}  // namespace moewe::bench
