#pragma once

#include <cmath>

#include "runtime/kernels/activation_element.hpp"
#include "runtime/kernels/multiply_rows.hpp"

namespace moewe {

/// One link of a sum's chain, rounded once.
MOEWE_PORTABLE inline float fused_product(float sum, float a, float b) { return std::fma(a, b, sum); }

MOEWE_PORTABLE inline float activated_by(Activation activation, float sum) {
  switch (activation) {
    case Activation::silu:
      return activated<Activation::silu>(sum);
    case Activation::gelu:
      return activated<Activation::gelu>(sum);
    case Activation::relu:
      break;
  }
  return activated<Activation::relu>(sum);
}

/// What is stored for a sum; for that of the gate, where there is one, and `up`.
MOEWE_PORTABLE inline float finished(const MultiplyRows& work, float sum, float up) {
  if (work.finish == Finish::plain) return sum;
  const float value = activated_by(work.activation, sum);
  return work.finish == Finish::gated ? value * up : value;
}

/// Slot's rows: [first, last).
struct SlotRows {
  std::uint32_t first;
  std::uint32_t last;

  MOEWE_PORTABLE std::uint32_t count() const { return last - first; }
};

MOEWE_PORTABLE inline SlotRows rows_of(const MultiplyRows& work, std::uint32_t slot) {
  if (work.first_row == nullptr) return {0, work.max_rows};
  return {work.first_row[slot], work.first_row[slot + 1]};
}

/// A tile of a gated product has `group` rows of the gate's matrix beside as many of up's, and so on, so that
/// the sums of both are near: of the tile's i-th matrix row, the output, and whether it is up's.
template <std::uint32_t group>
struct WeightRow {
  std::uint32_t output;
  bool is_up;

  MOEWE_PORTABLE WeightRow(const MultiplyRows& work, std::uint32_t first_output, std::uint32_t i)
      : output(first_output + (work.finish == Finish::gated ? i / (2 * group) * group + i % group : i)),
        is_up(work.finish == Finish::gated && i / group % 2 == 1) {}

  /// Values before it; for outputs that there are.
  MOEWE_PORTABLE std::size_t offset(const MultiplyRows& work) const {
    return (std::size_t{is_up ? work.out : 0} + output) * work.in;
  }
};

}  // namespace moewe
