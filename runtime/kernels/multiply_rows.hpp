#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/queue.hpp"
#include "runtime/dtype.hpp"
#include "runtime/kernels/portable.hpp"
#include "runtime/layer_spec.hpp"

namespace moewe {

/// Where rows lie: each where a table says, or, without one, one behind the other.
template <typename Byte>
struct RowPlaces {
  Byte* const* table = nullptr;  ///< of addresses
  Byte* first = nullptr;
  std::size_t row_bytes = 0;

  MOEWE_PORTABLE Byte* at(std::size_t i) const { return table != nullptr ? table[i] : first + i * row_bytes; }
};

/// What becomes of the sums.
enum class Finish {
  plain,
  activated,  ///< activation(sum)
  gated,      ///< activation(gate's sum) * (up's sum)
};

/// output = finish(W x), rounded once to its type, for rows that are sorted by the slots whose weights they
/// are multiplied with; how many each slot has is read where the kernel runs. Any sizes, and rows and
/// matrices at any address that their type allows; 16-byte aligned ones are quick.
///
/// A row's output depends on that row and its weights alone, to the bit: each sum is one chain in the order
/// of `in`, however many rows a slot has. Sums are f32. The matrices' type chooses the code of a GPU:
///
///   f32    fused multiply-adds, with the bits of the twin; rows of either type. Half of a GPU's plain rate.
///   bf16   its matrix units, 16 products at a time, for rows in bf16; the units round sums in a way of their
///          own, so that twin and GPU agree within in * 2^-21 * sum |w x|, before activation. A slot with at
///          most `few_rows` is computed in tiles of 16 rows, which are bound by reading its weights; any
///          other in tiles of 128. Both have the same bits.
struct MultiplyRows {
  static constexpr std::uint32_t few_rows = 32;

  RowPlaces<const std::byte> inputs;  ///< rows of [in] `input_dtype`
  RowPlaces<std::byte> outputs;       ///< rows of [out] `output_dtype`
  const std::byte* const* weights;    ///< [num_slots] matrices [out, in], or gate before up: [2, out, in]
  const std::uint32_t* first_row;     ///< [num_slots + 1]; null: the only slot has max_rows
  std::uint32_t* computed;            ///< [num_slots], to which the rows that are written are added; or null
  std::uint32_t num_slots;
  std::uint32_t in;
  std::uint32_t out;
  std::uint32_t max_rows;  ///< no fewer than first_row[num_slots]
  Dtype input_dtype;
  Dtype weight_dtype;
  Dtype output_dtype;
  Finish finish;
  Activation activation;  ///< where it counts
};

extern const Kernel<MultiplyRows> multiply_rows;
int launch_multiply_rows(const MultiplyRows& work, StreamHandle stream);

}  // namespace moewe
