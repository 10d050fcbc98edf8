#pragma once

#include <cstddef>

#include "placement/expert_id.hpp"
#include "runtime/combine.hpp"
#include "runtime/kernels/copy.hpp"

namespace moewe::bench {

/// What an expert multiplies its rows by: a power of two, so that it is exact and costs next to nothing; of
/// either sign, so that a row that went to the wrong expert shows.
constexpr float factor_of(ExpertId expert) {
  constexpr int num_exponents = 7;
  const int exponent = number(expert) % num_exponents - num_exponents / 2;
  const float power =
      exponent < 0 ? 1.0F / static_cast<float>(1 << -exponent) : static_cast<float>(1 << exponent);
  return number(expert) % 2 == 0 ? power : -power;
}

/// output = factor * input.
void scale_row(float factor, const std::byte* input, std::byte* output, const RowFormat& format,
               Stores stores);

}  // namespace moewe::bench
