#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/dtype.hpp"
#include "runtime/return_table.hpp"
#include "runtime/routing.hpp"
#include "runtime/row_table.hpp"
#include "runtime/token_range.hpp"

namespace moewe {

/// How rows of results look.
struct RowFormat {
  std::size_t hidden = 0;
  Dtype dtype = Dtype::f32;

  std::size_t bytes() const { return hidden * bytes_of(dtype); }
};

/// What is summed for a rank's tokens.
struct CombineInput {
  const Routing& routing;
  const ReturnTable& returned;
  RowFormat format;
  bool add_to_y = false;
};

/// y[t] = (sum over k of weight[t, k] * output(t, k)) + y[t] if `add_to_y`, in f32 and in the order of k, so
/// that the bits depend neither on where an output was computed nor on when it came back; what did not come
/// back does not count. Partial sums are weighted already, and are added in the order of their first k. `y`
/// is [routing.num_tokens, hidden], row-major f32, of which the rows of `tokens` are written. Local.
void combine(const CombineInput& input, TokenRange tokens, std::span<float> y, std::size_t num_threads);

/// For Combine::fast, on the experts' rank: turns the results of arrived assignments into one weighted sum
/// per row, in f32 and in the order of k, rounded once to the format and stored in `outputs`, row by row.
/// Results may lie in the same place. Local; its stores are finished.
void sum_rows(const ArrivedRows& arrived, const RowFormat& format);

/// One row out of several: their sum in f32 and in this order, rounded once to the format. Local.
void sum_partial_sums(std::span<const std::byte* const> rows, const RowFormat& format, std::byte* to);

/// Rows that a destination's assignments belong to.
std::size_t count_rows(std::span<const PlannedAssignment> assignments);

}  // namespace moewe
