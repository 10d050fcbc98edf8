#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/queue.hpp"
#include "runtime/dtype.hpp"
#include "runtime/kernels/e4m3.hpp"

namespace moewe {

/// Values that share a scale: neighbours in a row, the last ones of which may be fewer.
inline constexpr std::uint32_t scale_block = 128;

constexpr std::uint32_t scales_of(std::uint32_t hidden) { return (hidden + scale_block - 1) / scale_block; }

/// Rows to FP8 with a scale for each block: the block's largest magnitude over the largest of E4M3, which
/// makes value = scale * quantised; 1 where all are 0. Inputs are finite.
struct QuantiseRows {
  const std::byte* x;  ///< [num_rows, hidden] of `dtype`
  E4m3* quantised;     ///< [num_rows, hidden]
  float* scales;       ///< [num_rows, scales_of(hidden)]
  std::uint32_t num_rows;
  std::uint32_t hidden;
  Dtype dtype;
};

extern const Kernel<QuantiseRows> quantise_rows;
int launch_quantise_rows(const QuantiseRows& work, StreamHandle stream);

}  // namespace moewe
