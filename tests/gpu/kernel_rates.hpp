#pragma once

#include <string>
#include <vector>

#include "comm/device.hpp"

namespace moewe::test {

/// What a kernel moves, and how fast beside a copy on the same device.
struct Rate {
  std::string name;
  double gigabytes_per_second;  ///< read and written
  double over_copy;
};

/// For 4096 tokens of 7168 bf16 values and 8 choices each. Takes about 2 GB of device memory.
std::vector<Rate> measure_rates(Device& device);

}  // namespace moewe::test
