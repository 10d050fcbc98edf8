#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "runtime/safetensors.hpp"

namespace moewe {

/// Numbers of a trace file, of one type and dense. Little-endian.
struct TraceArray {
  std::string dtype;         ///< "U8", "I16", "I32" or "I64" for ids, "F32" or "BF16" for weights
  std::uint64_t offset = 0;  ///< of the first byte, from the start of the file
};

/// Where a recorded choice lies: row-major [steps, layers, tokens, top_k].
struct TraceLayout {
  std::size_t steps = 0;
  std::size_t layers = 0;
  std::size_t tokens = 0;
  std::size_t top_k = 0;
  std::size_t tokens_per_step = 0;  ///< as its file counts them: a .npy file is one step
  TraceArray ids;
  std::optional<TraceArray> weights;

  std::size_t tokens_per_layer() const { return steps * tokens; }
};

/// From topk_ids [steps, layers, tokens, k] and, where it is there, topk_weights of the same shape. Throws
/// InvalidInput that begins with `where`, for a file that is no trace and for an empty one.
TraceLayout layout_of_safetensors(const TensorMap& tensors, const std::string& where);

/// From the beginning of a .npy file [tokens, layers, k]: one token per step in the layout above.
/// `first_bytes` is the file, or its first npy_first_bytes. Throws as the other does.
TraceLayout layout_of_npy(std::span<const std::byte> first_bytes, std::uint64_t file_bytes,
                          const std::string& where);

/// Of a TraceArray's type.
std::size_t bytes_per_element(std::string_view dtype);

/// One id of `bytes`, which hold ids of this type.
std::int64_t id_at(std::span<const std::byte> bytes, std::string_view dtype, std::size_t i);

/// One weight of `bytes`, which hold weights of this type.
float weight_at(std::span<const std::byte> bytes, std::string_view dtype, std::size_t i);

}  // namespace moewe
