#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/queue.hpp"
#include "runtime/dtype.hpp"
#include "runtime/layer_spec.hpp"

namespace moewe {

/// hidden[i] = activation(gate[i]) * up[i], or activation(up[i]) without a gate, rounded once to `dtype`: the
/// bits of activate_gated() and activate(). `hidden` may be `gate` or `up` where it is f32.
struct ActivateRows {
  const float* gate;  ///< [length], or null
  const float* up;    ///< [length]
  std::byte* hidden;  ///< [length] of `dtype`
  std::size_t length;
  Activation activation;
  Dtype dtype;
};

extern const Kernel<ActivateRows> activate_rows;
int launch_activate_rows(const ActivateRows& work, StreamHandle stream);

}  // namespace moewe
