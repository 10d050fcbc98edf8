#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "comm/device.hpp"
#include "runtime/dtype.hpp"
#include "runtime/layer_spec.hpp"
#include "runtime/return_table.hpp"

namespace moewe {

/// With what the experts of layers on a device are multiplied.
struct ExpertMatmuls {
  bool may_group = false;  ///< by a library in one call, in steps with enough rows; else by multiply_rows
  std::string reason;      ///< for people: what is used and why
};

/// The only place that decides it. A library's matmuls of groups promise no bits that are independent of
/// other rows, so they are for sums that do not either; they need their rows aligned, and the library. Local.
ExpertMatmuls choose_expert_matmuls(const Device& device, const LayerSpec& spec, Dtype dtype,
                                    Combine combine);

/// Whether a step's rows are worth grouping, of so many for each expert: where it is not reading the weights
/// that takes the time.
bool is_worth_grouping(std::span<const std::int64_t> rows_of_slots);

}  // namespace moewe
