#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace moewe {

/// What became of assignments, per logical expert and over all ranks; the same on every rank.
struct OverflowReport {
  std::size_t capacity = 0;
  std::vector<std::int64_t> assigned;       ///< as routed
  std::vector<std::int64_t> kept;           ///< to be computed by this expert in the end
  std::vector<std::int64_t> over_capacity;  ///< dropped by drop_last or drop_lowest_weight
  std::vector<std::int64_t> no_room;        ///< routed here, and dropped by next_choice: no expert had room
  std::vector<std::int64_t> rerouted_from;
  std::vector<std::int64_t> rerouted_to;

  /// Sums element by element; the capacity becomes the other's.
  void add(const OverflowReport& other);
};

}  // namespace moewe
