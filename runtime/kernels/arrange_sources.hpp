#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/queue.hpp"
#include "runtime/kernels/group_rows.hpp"

namespace moewe {

/// Copies the rows that arrived, each once however many assignments it has, to one block: of each source one
/// behind the other, in the order of its tokens, and beside each row what it is for. See return_sources for
/// the way back.
struct ArrangeSources {
  const ArrivedFrom* sources;  ///< [num_sources]
  std::byte* rows;             ///< [max_places] rows; those of a room beyond the source's own are zeros
  std::int32_t* choices;       ///< [max_places, top_k] slots on this rank; -1: not here, or padding
  float* weights;              ///< [max_places, top_k], 0 where there is no slot
  std::uint32_t* first_place;  ///< [num_sources + 1] where each source's room begins
  std::uint32_t* counts;       ///< [num_sources] its true rows, at most its room
  std::uint32_t* computed;     ///< [num_slots], to which the assignments of these rows are added
  std::size_t row_bytes;
  std::uint32_t num_sources;
  std::uint32_t num_slots;
  std::uint32_t top_k;
  std::uint32_t room;  ///< places of each source; 0: as many as it has rows
  std::uint32_t max_places;
};

/// Copies a result for each row, arranged as rows were, to where its source wants the row's sum.
struct ReturnSources {
  const std::byte* results;          ///< as arranged
  const std::uint32_t* first_place;  ///< [num_sources + 1], of arrange_sources
  const std::uint32_t* counts;       ///< [num_sources], the same
  const ArrivedFrom* sources;        ///< [num_sources]
  std::size_t row_bytes;
  std::uint32_t num_sources;
  std::uint32_t max_places;  ///< no fewer than first_place[num_sources]
};

extern const Kernel<ArrangeSources> arrange_sources;
extern const Kernel<ReturnSources> return_sources;
int launch_arrange_sources(const ArrangeSources& work, StreamHandle stream);
int launch_return_sources(const ReturnSources& work, StreamHandle stream);

}  // namespace moewe
