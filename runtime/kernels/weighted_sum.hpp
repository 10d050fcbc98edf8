#pragma once

#include <cstddef>
#include <span>

#include "runtime/dtype.hpp"

namespace moewe {

/// A row that is added with a weight.
struct WeightedRow {
  const std::byte* row;
  float weight;
};

// Row after row in f32, and every operation rounded on its own, so that the bits are the same on every
// machine and however rows are cut.

/// sum[i] = 0 + weight * row[first + i] + ...; rows hold values of `dtype`.
void sum_weighted(std::span<const WeightedRow> rows, std::size_t first, Dtype dtype, std::span<float> sum);

/// The same for all `length` values, each rounded once to `dtype` and stored at `to`. The sum may begin where
/// one of the rows does, or before.
void sum_weighted_rounded(std::span<const WeightedRow> rows, Dtype dtype, std::size_t length, std::byte* to);

}  // namespace moewe
