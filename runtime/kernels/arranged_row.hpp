#pragma once

#include "runtime/kernels/arrange_rows.hpp"
#include "runtime/kernels/portable.hpp"

namespace moewe {

MOEWE_PORTABLE inline std::uint32_t rows_of_slot(const ArrangeRows& work, std::uint32_t slot) {
  return work.first_row[slot + 1] - work.first_row[slot];
}

MOEWE_PORTABLE inline std::uint32_t bounded_place(const ArrangeRows& work, std::uint32_t place) {
  return place < work.max_places ? place : work.max_places;
}

/// Of the slot's rows those that its room from `place` on has.
MOEWE_PORTABLE inline std::uint32_t count_in_room(const ArrangeRows& work, std::uint32_t slot,
                                                  std::uint32_t place) {
  const std::uint32_t count = rows_of_slot(work, slot);
  const std::uint32_t room = work.arrangement.room_for(count);
  const std::uint32_t left = work.max_places - place;
  const std::uint32_t most = room < left ? room : left;
  return count < most ? count : most;
}

/// What comes to a place of the slot's room; null for padding.
MOEWE_PORTABLE inline const std::byte* row_at(const ArrangeRows& work, std::uint32_t slot,
                                              std::uint32_t place) {
  const std::uint32_t i = place - work.first_place[slot];
  return i < work.counts[slot] ? work.inputs[work.first_row[slot] + i] : nullptr;
}

}  // namespace moewe
