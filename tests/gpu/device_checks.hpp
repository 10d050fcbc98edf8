#pragma once

#include <string>
#include <vector>

#include "comm/device.hpp"

namespace moewe::test {

/// What a device does without kernels, on its own and with a second process; `failure` is empty where it is
/// right.
struct Check {
  std::string name;
  std::string failure;
};

/// Of queues, events, flags in host memory, and memory that grows and that others address. The second process
/// is this program, started once more with second_argument. At most a minute each.
std::vector<Check> check_device(Device& device);

}  // namespace moewe::test
