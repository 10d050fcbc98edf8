#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "comm/queue.hpp"
#include "placement/expert_id.hpp"
#include "runtime/kernels/arrange_rows.hpp"

namespace moewe {

/// The rows that a caller's experts compute in a step, in one block of device memory: of each slot one behind
/// the other, in the order of their sources and tokens, and then zeros up to where the next slot's room
/// begins.
///
///   RowArrangement{.alignment = a}   flat: [rows, hidden] with offsets, rooms of multiples of a rows
///                                    (grouped matmuls; "contiguous", "expanded")
///   RowArrangement{.capacity = c}    padded: [slots, c, hidden] with counts ("masked", expert-major)
struct ArrangedRows {
  const std::byte* rows;                      ///< [num_places, hidden] of the layer's dtype
  std::byte* results;                         ///< the same shape, to be written; padding does not count
  const std::uint32_t* first_place;           ///< on the device, [slots + 1]: offsets
  const std::uint32_t* counts;                ///< on the device, [slots]: true numbers of rows
  std::span<const std::int64_t> host_counts;  ///< the same on the host, which knows them by agreement
  std::size_t num_places = 0;
};

/// A caller's experts: enqueues on `queue`, without waiting, what writes the results. `experts` are those in
/// the rank's slots. What it throws is a local error.
using DeviceExpertFunction =
    std::function<void(Queue& queue, std::span<const ExpertId> experts, const ArrangedRows& rows)>;

}  // namespace moewe
