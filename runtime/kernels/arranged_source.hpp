#pragma once

#include "runtime/kernels/arrange_sources.hpp"
#include "runtime/kernels/arrived_row.hpp"
#include "runtime/kernels/rank_of_row.hpp"

namespace moewe {

/// By one thread: sources are few.
MOEWE_PORTABLE inline void make_source_rooms(const ArrangeSources& work) {
  std::uint32_t place = 0;
  for (std::uint32_t s = 0; s < work.num_sources; ++s) {
    const std::uint32_t count = std::min(work.sources[s].plan->num_rows, work.sources[s].room);
    const std::uint32_t left = work.max_places - place;
    const std::uint32_t room = std::min(work.room > 0 ? work.room : count, left);
    work.first_place[s] = place;
    work.counts[s] = std::min(count, room);
    place += room;
  }
  work.first_place[work.num_sources] = place;
}

/// What has come to a place: false for padding.
MOEWE_PORTABLE inline bool find_source_row(const ArrangeSources& work, std::uint32_t place,
                                           ArrivedRow& found) {
  const std::uint32_t s = rank_of_row(place, work.first_place, work.num_sources);
  const std::uint32_t row = place - work.first_place[s];
  if (row >= work.counts[s]) return false;
  found = {{work.sources[s], 0}, row, first_assignment_of(work.sources[s], row)};
  return true;
}

/// The row's k-th choice, if it is here: which assignment of its source.
MOEWE_PORTABLE inline bool find_choice(const ArrangeSources& work, const ArrivedRow& arrived, std::uint32_t k,
                                       std::uint32_t& assignment) {
  for (assignment = arrived.first; is_for(arrived, assignment); ++assignment) {
    const PlannedAssignment& planned = assignments_of(arrived.source.from)[assignment];
    if (planned.k == k) return planned.slot < work.num_slots;
  }
  return false;
}

/// Writes what the row at a place is for; returns the slot of its k-th choice, or -1.
MOEWE_PORTABLE inline std::int32_t write_choice(const ArrangeSources& work, std::uint32_t place,
                                                const ArrivedRow* arrived, std::uint32_t k) {
  std::uint32_t assignment = 0;
  const bool is_here = arrived != nullptr && find_choice(work, *arrived, k, assignment);
  const PlannedAssignment* const planned =
      is_here ? assignments_of(arrived->source.from) + assignment : nullptr;
  const std::size_t i = std::size_t{place} * work.top_k + k;
  work.choices[i] = is_here ? static_cast<std::int32_t>(planned->slot) : -1;
  work.weights[i] = is_here ? planned->weight : 0.0F;
  return work.choices[i];
}

/// Where the result at a place goes; null for padding.
MOEWE_PORTABLE inline std::byte* destination_of(const ReturnSources& work, std::uint32_t place) {
  const std::uint32_t s = rank_of_row(place, work.first_place, work.num_sources);
  const std::uint32_t row = place - work.first_place[s];
  if (row >= work.counts[s]) return nullptr;
  return work.sources[s].outputs + (std::size_t{work.sources[s].plan->first_sum} + row) * work.row_bytes;
}

}  // namespace moewe
