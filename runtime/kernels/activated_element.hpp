#pragma once

#include "runtime/kernels/activate_rows.hpp"
#include "runtime/kernels/activation_element.hpp"
#include "runtime/kernels/portable.hpp"

namespace moewe {

/// Where a row's sums begin; without a gate, `gate` is `up`.
template <typename Sum>
struct SumsOfRow {
  const Sum* gate;
  const Sum* up;

  MOEWE_PORTABLE SumsOfRow(const ActivateRows& work, std::size_t row)
      : gate(reinterpret_cast<const Sum*>(work.sums) + row * (work.is_gated ? 2 : 1) * work.length),
        up(gate + (work.is_gated ? work.length : 0)) {}
};

template <Activation activation, typename Hidden>
MOEWE_PORTABLE inline Hidden activated_element(const ActivateRows& work, float gate, float up) {
  return from_f32<Hidden>(work.is_gated ? activated<activation>(gate) * up : activated<activation>(up));
}

}  // namespace moewe
