#include "launch/trace_layout.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <fmt/format.h>
#include <vector>

#include "comm/error.hpp"
#include "launch/npy_header.hpp"
#include "runtime/strict_json.hpp"

namespace moewe {
namespace {

template <typename T>
T value_at(std::span<const std::byte> bytes, std::size_t i) {
  T value;
  std::memcpy(&value, bytes.subspan(i * sizeof value, sizeof value).data(), sizeof value);
  return value;
}

[[noreturn]] void fail(const std::string& where, const std::string& what) {
  throw InvalidInput(fmt::format("{}: {}", where, what));
}

std::string dtype_of_npy(const std::string& descr, const std::string& where) {
  constexpr std::array<std::array<const char*, 2>, 4> known{
      {{"|u1", "U8"}, {"<i2", "I16"}, {"<i4", "I32"}, {"<i8", "I64"}}};
  for (const auto& [npy, ours] : known) {
    if (descr == npy) return ours;
  }
  fail(where, fmt::format("has dtype '{}'; |u1, <i2, <i4 and <i8 can be read", printable(descr)));
}

/// Throws unless `data_bytes`, which follow the header, are those of its array.
void require_data(const NpyHeader& header, std::size_t element_bytes, std::uint64_t data_bytes,
                  const std::string& where) {
  std::uint64_t num_bytes = element_bytes;
  bool overflows = false;
  for (const std::size_t n : header.shape)
    overflows = __builtin_mul_overflow(num_bytes, n, &num_bytes) || overflows;
  if (!overflows && num_bytes == data_bytes) return;
  fail(where, fmt::format("holds {} bytes of data, which are not those of shape {} and dtype {}", data_bytes,
                          describe_shape(header.shape), header.descr));
}

void require_not_empty(const TraceLayout& layout, const std::string& where) {
  if (layout.steps * layout.layers * layout.tokens * layout.top_k > 0) return;
  fail(where, fmt::format("an empty trace: {} steps of {} tokens, {} layers and top-{}", layout.steps,
                          layout.tokens, layout.layers, layout.top_k));
}

/// Throws for a type that cannot be read.
void require_dtype(const TensorInfo& tensor, const std::string& name,
                   std::initializer_list<std::string_view> known, const std::string& where) {
  if (std::find(known.begin(), known.end(), tensor.dtype) != known.end()) return;
  fail(where, fmt::format("tensor '{}' has dtype {}; {} can be read", name, tensor.dtype,
                          name == "topk_ids" ? "U8, I16 and I32" : "F32 and BF16"));
}

/// Recorded weights, which must be of the same shape as the ids.
std::optional<TraceArray> find_weights(const TensorMap& tensors, const std::vector<std::size_t>& shape,
                                       const std::string& where) {
  const auto weights = tensors.find("topk_weights");
  if (weights == tensors.end()) return std::nullopt;
  require_dtype(weights->second, "topk_weights", {"F32", "BF16"}, where);
  if (weights->second.shape != shape) {
    fail(where, fmt::format("tensor 'topk_weights' has shape {}, but topk_ids {}",
                            describe_shape(weights->second.shape), describe_shape(shape)));
  }
  return TraceArray{weights->second.dtype, weights->second.offset};
}

/// Throws for a tensor that begins as those of traces do and is none of them.
void require_known_names(const TensorMap& tensors, const std::string& where) {
  for (const auto& [name, tensor] : tensors) {
    if (name.rfind("topk_", 0) == 0 && name != "topk_ids" && name != "topk_weights") {
      fail(where, fmt::format("tensor '{}' is neither topk_ids nor topk_weights", printable(name)));
    }
  }
}

}  // namespace

TraceLayout layout_of_safetensors(const TensorMap& tensors, const std::string& where) {
  require_known_names(tensors, where);
  const auto ids = tensors.find("topk_ids");
  if (ids == tensors.end()) fail(where, "tensor 'topk_ids' is missing");
  const std::vector<std::size_t>& shape = ids->second.shape;
  if (shape.size() != 4) {
    fail(where, fmt::format("tensor 'topk_ids' has shape {} instead of [steps, layers, tokens, k]",
                            describe_shape(shape)));
  }
  require_dtype(ids->second, "topk_ids", {"U8", "I16", "I32"}, where);
  const TraceLayout layout{.steps = shape[0],
                           .layers = shape[1],
                           .tokens = shape[2],
                           .top_k = shape[3],
                           .tokens_per_step = shape[2],
                           .ids = {ids->second.dtype, ids->second.offset},
                           .weights = find_weights(tensors, shape, where)};
  require_not_empty(layout, where);
  return layout;
}

TraceLayout layout_of_npy(std::span<const std::byte> first_bytes, std::uint64_t file_bytes,
                          const std::string& where) {
  const NpyHeader header = read_npy_header(first_bytes, where);
  if (header.fortran_order) fail(where, "is in Fortran order; only C order can be read");
  const std::vector<std::size_t>& shape = header.shape;
  if (shape.size() != 3) {
    fail(where, fmt::format("has shape {} instead of [tokens, layers, k]", describe_shape(shape)));
  }
  const TraceLayout layout{.steps = shape[0],
                           .layers = shape[1],
                           .tokens = 1,
                           .top_k = shape[2],
                           .tokens_per_step = shape[0],
                           .ids = {dtype_of_npy(header.descr, where), header.data_offset},
                           .weights = {}};
  require_data(header, bytes_per_element(layout.ids.dtype), file_bytes - header.data_offset, where);
  require_not_empty(layout, where);
  return layout;
}

std::size_t bytes_per_element(std::string_view dtype) {
  if (dtype == "U8") return 1;
  if (dtype == "I16" || dtype == "BF16") return 2;
  return dtype == "I64" ? 8 : 4;
}

std::int64_t id_at(std::span<const std::byte> bytes, std::string_view dtype, std::size_t i) {
  if (dtype == "U8") return value_at<std::uint8_t>(bytes, i);
  if (dtype == "I16") return value_at<std::int16_t>(bytes, i);
  return dtype == "I64" ? value_at<std::int64_t>(bytes, i) : value_at<std::int32_t>(bytes, i);
}

float weight_at(std::span<const std::byte> bytes, std::string_view dtype, std::size_t i) {
  if (dtype == "F32") return value_at<float>(bytes, i);
  return std::bit_cast<float>(static_cast<std::uint32_t>(value_at<std::uint16_t>(bytes, i)) << 16);
}

}  // namespace moewe
