#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/queue.hpp"
#include "runtime/dtype.hpp"
#include "runtime/kernels/quantise_rows.hpp"

namespace moewe {

/// What quantise_rows made of rows, times its scales, rounded once to `dtype`.
struct DequantiseRows {
  const E4m3* quantised;  ///< [num_rows, hidden]
  const float* scales;    ///< [num_rows, scales_of(hidden)]
  std::byte* y;           ///< [num_rows, hidden] of `dtype`
  std::uint32_t num_rows;
  std::uint32_t hidden;
  Dtype dtype;
};

extern const Kernel<DequantiseRows> dequantise_rows;
int launch_dequantise_rows(const DequantiseRows& work, StreamHandle stream);

}  // namespace moewe
