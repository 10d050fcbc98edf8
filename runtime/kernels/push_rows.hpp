#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/queue.hpp"

namespace moewe {

/// Copies each row of a plan to where its rank wants it, all ranks at once: into peers' segments (push), or
/// one behind the other into a buffer to send (pack). How many rows there are is read where the kernel runs.
struct PushRows {
  const std::byte* x;              ///< [num_tokens] rows
  const std::uint32_t* tokens;     ///< [first_row[num_ranks]], of fill_plan
  const std::uint32_t* first_row;  ///< [num_ranks + 1]
  std::byte* const* destinations;  ///< [num_ranks], the place of each rank's first row
  std::size_t row_bytes;           ///< any
  std::uint32_t num_ranks;
  std::uint32_t max_rows;  ///< no fewer than first_row[num_ranks]
};

extern const Kernel<PushRows> push_rows;
int launch_push_rows(const PushRows& work, StreamHandle stream);

}  // namespace moewe
