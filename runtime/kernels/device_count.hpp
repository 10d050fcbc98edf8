#pragma once

#include <cstdint>

#include "runtime/kernels/portable.hpp"

namespace moewe {

/// How many there are: what the host knew when it enqueued the kernel, or what the device reads when the
/// kernel runs, of which the host knows a bound. Grids are for the bound.
struct DeviceCount {
  const std::uint32_t* on_device = nullptr;
  std::uint32_t at_most = 0;

  DeviceCount() = default;
  DeviceCount(std::uint32_t known) : at_most(known) {}  // NOLINT(google-explicit-constructor): it is one
  DeviceCount(const std::uint32_t* there, std::uint32_t bound) : on_device(there), at_most(bound) {}

  /// Where the kernel runs.
  MOEWE_PORTABLE std::uint32_t value() const {
    return on_device != nullptr && *on_device < at_most ? *on_device : at_most;
  }
};

}  // namespace moewe
