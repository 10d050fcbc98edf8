#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/queue.hpp"
#include "runtime/planned_assignment.hpp"

namespace moewe {

/// Where each (token, k) finds its output: of the i-th assignment of a plan the i-th row of `outputs`. Or, of
/// sums, where the first k of each row finds the row's: that of the i-th row of a plan is the i-th. Others
/// keep the address that they have.
struct AddressOutputs {
  const PlannedAssignment* planned;       ///< [first_assignment[num_ranks]], of fill_plan
  const std::uint32_t* first_assignment;  ///< [num_ranks + 1]
  const std::byte* outputs;
  const std::byte** addresses;  ///< [num_tokens, top_k]
  std::size_t row_bytes;
  std::uint32_t top_k;
  std::uint32_t num_ranks;
  std::uint32_t max_assignments;  ///< no fewer than first_assignment[num_ranks]

  const std::uint32_t* first_row = nullptr;  ///< [num_ranks + 1] for sums, else null
};

extern const Kernel<AddressOutputs> address_outputs;
int launch_address_outputs(const AddressOutputs& work, StreamHandle stream);

}  // namespace moewe
