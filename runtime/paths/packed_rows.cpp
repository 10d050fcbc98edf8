#include "runtime/paths/packed_rows.hpp"

#include <cstring>

namespace moewe {

void pack_rows(const RoundShape& shape, std::span<const std::uint32_t> tokens, std::span<const std::byte> x,
               std::byte* to) {
  const std::size_t row_bytes = shape.row_bytes();
  std::byte* const checksums = to + tokens.size() * row_bytes;
  for (std::size_t row = 0; row < tokens.size(); ++row) {
    const auto from = x.subspan(tokens[row] * row_bytes, row_bytes);
    std::memcpy(to + row * row_bytes, from.data(), row_bytes);
    if (!shape.audit.is_on()) continue;
    const Rank self = shape.audit.self();
    put_checksum(checksums, row,
                 shape.audit.checksum({Direction::dispatch, self, self, tokens[row], 0}, from));
  }
}

/// With what lies before the chunk, n rows and n checksums, row r is r rows behind the address that is n
/// checksums behind the first chunk; its checksum is r checksums behind that of as many rows as end here.
PackedRows packed_rows(const RoundShape& shape, const std::byte* chunks, std::size_t first_row,
                       std::size_t num_rows) {
  return {chunks + first_row * shape.audit.checksum_bytes(),
          shape.checksums_behind(chunks, first_row + num_rows)};
}

}  // namespace moewe
