#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/queue.hpp"

namespace moewe {

/// The checksums that RoundAudit takes of rows. A checksum depends on the round and on whose row it is too.
struct ChecksumRows {
  const std::byte* const* rows;  ///< [num_rows], at any address; null: none is written
  const std::uint32_t* tokens;   ///< [num_rows], of each row's RowLabel
  const std::uint32_t* ks;       ///< [num_rows] on the way back; null in dispatch, where it does not count
  std::uint64_t* checksums;      ///< [num_rows]
  std::size_t row_bytes;         ///< any
  std::uint64_t generation;
  std::uint32_t direction;  ///< of RowLabel, as a number
  std::uint32_t source;     ///< the rank whose tokens they are
  std::uint32_t num_rows;
};

extern const Kernel<ChecksumRows> checksum_rows;
int launch_checksum_rows(const ChecksumRows& work, StreamHandle stream);

}  // namespace moewe
