#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/queue.hpp"
#include "runtime/dtype.hpp"
#include "runtime/layer_spec.hpp"

namespace moewe {

/// Of each row hidden[i] = activation(gate[i]) * up[i], or activation(up[i]) without a gate, computed in f32
/// and rounded once to `dtype`: the bits of activate_gated() and activate(). Without a gate `hidden` may be
/// `sums` where both have one type.
struct ActivateRows {
  const std::byte* sums;  ///< [num_rows, 2, length]: gate before up; or [num_rows, length] without a gate
  std::byte* hidden;      ///< [num_rows, length] of `dtype`
  std::uint32_t num_rows;
  std::uint32_t length;
  bool is_gated;
  Activation activation;
  Dtype sums_dtype;
  Dtype dtype;
};

extern const Kernel<ActivateRows> activate_rows;
int launch_activate_rows(const ActivateRows& work, StreamHandle stream);

}  // namespace moewe
