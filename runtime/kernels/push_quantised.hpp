#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/queue.hpp"
#include "runtime/dtype.hpp"
#include "runtime/kernels/quantise_rows.hpp"

namespace moewe {

/// Where the scales of a quantised row begin, behind its values.
constexpr std::size_t scales_at(std::uint32_t hidden) { return (std::size_t{hidden} + 3) / 4 * 4; }

/// A row of values in FP8 and its scales.
constexpr std::size_t quantised_row_bytes(std::uint32_t hidden) {
  return scales_at(hidden) + scales_of(hidden) * sizeof(float);
}

/// quantise_rows and push_rows in one: each row of a plan, quantised, to where its rank wants it. Rows are
/// quantised once for each rank that they go to.
struct PushQuantised {
  const std::byte* x;              ///< [num_tokens, hidden] of `dtype`
  const std::uint32_t* tokens;     ///< [first_row[num_ranks]], of fill_plan
  const std::uint32_t* first_row;  ///< [num_ranks + 1]
  std::byte* const* destinations;  ///< [num_ranks], 4-byte aligned: rows of quantised_row_bytes
  std::uint32_t hidden;
  std::uint32_t num_ranks;
  std::uint32_t max_rows;  ///< no fewer than first_row[num_ranks]
  Dtype dtype;
};

extern const Kernel<PushQuantised> push_quantised;
int launch_push_quantised(const PushQuantised& work, StreamHandle stream);

}  // namespace moewe
