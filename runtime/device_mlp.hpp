#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/queue.hpp"
#include "runtime/device_weights.hpp"
#include "runtime/kernels/multiply_rows.hpp"
#include "runtime/layer_spec.hpp"

namespace moewe {

/// Rows through the MLPs whose weights these are, in multiply_rows: by slots, whose rows the device knows.
struct DeviceMlp {
  ExpertShape shape;
  DeviceExperts weights;
  RowPlaces<const std::byte> inputs;
  RowPlaces<std::byte> outputs;
  std::byte* hidden;  ///< [max_rows, intermediate] of the dtype
  Dtype dtype;
  Dtype output_dtype;
  std::uint32_t num_slots;
  std::uint32_t max_rows;
  const std::uint32_t* first_row;  ///< as of MultiplyRows, as is what follows
  std::uint32_t* computed;
};

void run_mlp(Queue& queue, const DeviceMlp& mlp);

}  // namespace moewe
