#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "comm/queue.hpp"
#include "placement/expert_id.hpp"
#include "runtime/kernels/arrange_rows.hpp"

namespace moewe {

/// The rows that a caller's experts compute in a step, in one block of device memory, and then zeros up to
/// where the next slot's, or source's, room begins. S slots, R ranks, top-k, N places:
///
///   RowArrangement{.alignment = a}                       flat: [N, hidden], a row for each assignment, by
///   slot
///       and in a slot by source and token, with offsets [S + 1]; rooms of multiples of a rows (grouped
///       matmuls; "contiguous", "expanded")
///   RowArrangement{.capacity = c}                        padded: [S, c, hidden] with counts [S] ("masked",
///       expert-major)
///   RowArrangement{.order = RowOrder::by_source}         compact: [N, hidden], a row for each token and
///   rank,
///       by source and token, with slots and weights [N, k] and offsets [R + 1] ("flat", "non-expand")
///   RowArrangement{.capacity = c, .order = by_source}    rank-major: [R, c, hidden] with the same [R, c, k],
///       and counts [R]; c is no less than the most tokens of a rank
///
/// By source the function sums: a row's result is the sum over its slots of weight * output, which is what
/// goes back; so it is for Combine::fast. The host then waits for the device once more, for the counts.
struct ArrangedRows {
  const std::byte* rows;                      ///< [num_places, hidden] of the layer's dtype
  std::byte* results;                         ///< the same shape, to be written; padding does not count
  const std::uint32_t* first_place;           ///< on the device: offsets
  const std::uint32_t* counts;                ///< on the device: true numbers of rows
  std::span<const std::int64_t> host_counts;  ///< the same on the host
  std::size_t num_places = 0;

  // By source only, on the device, [num_places, k] in the order of the token's choices.
  const std::int32_t* slots = nullptr;  ///< of this rank; -1: the choice is not here
  const float* weights = nullptr;       ///< 0 there
};

/// A caller's experts: enqueues on `queue`, without waiting, what writes the results. `experts` are those in
/// the rank's slots. What it throws is a local error.
using DeviceExpertFunction =
    std::function<void(Queue& queue, std::span<const ExpertId> experts, const ArrangedRows& rows)>;

}  // namespace moewe
