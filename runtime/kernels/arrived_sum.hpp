#pragma once

#include "runtime/kernels/arrived_row.hpp"
#include "runtime/kernels/push_sums.hpp"

namespace moewe {

/// What the source's i-th assignment adds to its row's sum; null for nothing.
MOEWE_PORTABLE inline const std::byte* output_of(const PushSums& work, const NextSource& source,
                                                 std::uint32_t i) {
  const std::uint32_t place = source.before + i;
  return place < work.max_addresses ? work.addresses[place] : nullptr;
}

/// Where the row's sum goes.
MOEWE_PORTABLE inline std::byte* sum_of(const ArrivedRow& arrived, std::size_t row_bytes) {
  const ArrivedFrom& from = arrived.source.from;
  return from.outputs + (std::size_t{from.plan->first_sum} + arrived.row) * row_bytes;
}

}  // namespace moewe
