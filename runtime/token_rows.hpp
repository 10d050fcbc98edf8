#pragma once

#include <concepts>
#include <cstddef>
#include <ranges>
#include <span>
#include <type_traits>

#include "runtime/dtype.hpp"

namespace moewe {

/// A view of a caller's rows that knows their type: row-major [num_tokens, hidden].
struct TokenRows {
  std::span<const std::byte> bytes;
  Dtype dtype = Dtype::f32;

  TokenRows(std::span<const std::byte> rows, Dtype type) : bytes(rows), dtype(type) {}

  template <std::ranges::contiguous_range Range>
  requires std::same_as < std::ranges::range_value_t<Range>,
  float > TokenRows(const Range& rows)  // NOLINT(google-explicit-constructor): a view, as std::span
      : bytes(std::as_bytes(std::span(rows))),
  dtype(Dtype::f32) {}

  template <std::ranges::contiguous_range Range>
  requires std::same_as<std::ranges::range_value_t<Range>, Bf16> TokenRows(
      const Range& rows)  // NOLINT(google-explicit-constructor)
      : bytes(std::as_bytes(std::span(rows))), dtype(Dtype::bf16) {}

  /// The part of `count` rows of `row_bytes` each from `first` on.
  TokenRows rows(std::size_t first, std::size_t count, std::size_t row_bytes) const {
    return {bytes.subspan(first * row_bytes, count * row_bytes), dtype};
  }
};

}  // namespace moewe
