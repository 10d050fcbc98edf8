#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/path.hpp"

namespace moewe {

/// Packs the rows of these tokens of this rank out of `x`; where audited, with their checksums, taken on the
/// way, behind them. `to` has room for shape.sealed_row_bytes() for each.
void pack_rows(const RoundShape& shape, std::span<const std::uint32_t> tokens, std::span<const std::byte> x,
               std::byte* to);

/// Where rows of one chunk lie as RowTable::add wants to know it, by the numbers that rows have among those
/// of all chunks.
struct PackedRows {
  const std::byte* inputs;
  const std::byte* checksums;  ///< null where there are none
};

/// Of the chunk that holds `num_rows` rows from `first_row` on; `chunks` is where the first chunk begins, and
/// each is followed by the next.
PackedRows packed_rows(const RoundShape& shape, const std::byte* chunks, std::size_t first_row,
                       std::size_t num_rows);

}  // namespace moewe
