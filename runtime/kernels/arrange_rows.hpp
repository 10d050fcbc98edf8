#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/queue.hpp"

namespace moewe {

/// What comes one behind the other.
enum class RowOrder {
  by_slot,    ///< a row for each assignment
  by_source,  ///< a row for each that arrived, with its slots and weights beside it
};

/// Where rows lie in one block of memory; of a slot's, or of a source's.
struct RowArrangement {
  /// Rows of each slot's or source's room: those beyond its own are zeros. 0: as many as it has, and up to
  /// the next multiple of `alignment`.
  std::uint32_t capacity = 0;
  std::uint32_t alignment = 1;
  RowOrder order = RowOrder::by_slot;

  constexpr std::uint32_t room_for(std::uint32_t count) const {
    return capacity > 0 ? capacity : (count + alignment - 1) / alignment * alignment;
  }
};

/// Copies rows that lie anywhere, sorted by slot, to where an arrangement has them; see return_rows for the
/// way back. Rooms that would go beyond max_places are left out.
struct ArrangeRows {
  const std::byte* const* inputs;  ///< [first_row[num_slots]]
  const std::uint32_t* first_row;  ///< [num_slots + 1]
  std::byte* rows;                 ///< [max_places] rows, the last rooms' end and beyond untouched
  std::uint32_t* first_place;      ///< [num_slots + 1] where each slot's room begins
  std::uint32_t* counts;           ///< [num_slots] its true rows, at most its room
  std::size_t row_bytes;
  RowArrangement arrangement;
  std::uint32_t num_slots;
  std::uint32_t max_places;
};

/// Copies results, arranged as rows were, to where outputs are wanted.
struct ReturnRows {
  const std::byte* results;          ///< as arranged
  const std::uint32_t* first_place;  ///< [num_slots + 1], of arrange_rows
  const std::uint32_t* counts;       ///< [num_slots], the same
  const std::uint32_t* first_row;    ///< [num_slots + 1]
  std::byte* const* outputs;         ///< [first_row[num_slots]]
  std::size_t row_bytes;
  std::uint32_t num_slots;
  std::uint32_t max_rows;  ///< no fewer than first_row[num_slots]
};

extern const Kernel<ArrangeRows> arrange_rows;
extern const Kernel<ReturnRows> return_rows;
int launch_arrange_rows(const ArrangeRows& work, StreamHandle stream);
int launch_return_rows(const ReturnRows& work, StreamHandle stream);

}  // namespace moewe
