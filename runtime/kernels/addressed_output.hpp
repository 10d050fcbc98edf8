#pragma once

#include "runtime/kernels/address_outputs.hpp"
#include "runtime/kernels/portable.hpp"
#include "runtime/kernels/rank_of_row.hpp"

namespace moewe {

/// Of the sums of a plan's rows, that which the i-th assignment belongs to; whether it is its row's first.
MOEWE_PORTABLE inline bool begins_row(const AddressOutputs& work, std::uint32_t i, std::uint32_t& sum) {
  const std::uint32_t rank = rank_of_row(i, work.first_assignment, work.num_ranks);
  const std::uint32_t row = work.planned[i].row;
  sum = work.first_row[rank] + row;
  return i == work.first_assignment[rank] || work.planned[i - 1].row != row;
}

/// For the plan's i-th assignment.
MOEWE_PORTABLE inline void address_output(const AddressOutputs& work, std::uint32_t i) {
  std::uint32_t place = i;
  if (work.first_row != nullptr && !begins_row(work, i, place)) return;
  const PlannedAssignment& assignment = work.planned[i];
  work.addresses[std::size_t{assignment.token} * work.top_k + assignment.k] =
      work.outputs + place * work.row_bytes;
}

}  // namespace moewe
