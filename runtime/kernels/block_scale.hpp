#pragma once

#include <algorithm>

#include "runtime/kernels/e4m3.hpp"
#include "runtime/kernels/portable.hpp"

namespace moewe {

MOEWE_PORTABLE inline float magnitude_of(float value) { return value < 0.0F ? -value : value; }

/// For a block's largest magnitude. Not so small that a division by it overflows.
MOEWE_PORTABLE inline float scale_for(float largest) {
  constexpr float smallest_normal = 1.17549435e-38F;
  return largest == 0.0F ? 1.0F : std::max(largest / largest_e4m3, smallest_normal);
}

MOEWE_PORTABLE inline E4m3 quantise(float value, float scale) { return to_e4m3(value / scale); }

}  // namespace moewe
