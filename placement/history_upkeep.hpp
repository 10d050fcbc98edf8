#pragma once

#include <cstddef>
#include <span>

#include "placement/load_history.hpp"

namespace moewe {

// How a history that came from elsewhere is made fit to be gone on with. All are values, the same on every
// rank that has the same.

/// The same history, from now on with `num_sources` sources: where it has others, these begin at 0. Throws
/// InvalidInput for more than a history can have.
LoadHistory with_sources(const LoadHistory& history, std::size_t num_sources);

/// The same history, which from now on keeps at most its newest `num_windows` as they are; from 2 on.
LoadHistory with_newest_windows(const LoadHistory& history, std::size_t num_windows);

/// A history to which one more window can be added, whose tables are `of_source`, or the only one: where sums
/// would exceed max_total_load (placement/split.hpp), it forgets all but its newest windows, and of these as
/// many as have room.
LoadHistory with_room_for(LoadHistory history, std::span<const LoadTable> of_source);

}  // namespace moewe
