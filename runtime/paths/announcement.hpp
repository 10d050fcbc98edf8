#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/dispatch_plan.hpp"

namespace moewe {

/// First message of a source in a round, on the message path: what is coming, and the manifest itself where
/// the message does not become too long by it. Both sides know from the counts which of the two it is.
struct Announcement {
  struct Counts {
    std::uint64_t generation;
    std::uint64_t num_rows;
    std::uint64_t num_assignments;
  };

  Counts counts;
  std::array<PlannedAssignment, 64> manifest;  // short enough for every MPI to send at once

  /// `most` is the longest message between the two ranks.
  bool holds_manifest(std::size_t most) const {
    const std::size_t room = most < sizeof counts ? 0 : (most - sizeof counts) / sizeof manifest[0];
    return counts.num_assignments <= std::min(manifest.size(), room);
  }

  /// What of this is sent.
  std::span<const std::byte> bytes(std::size_t most) const {
    const std::size_t num_held = holds_manifest(most) ? counts.num_assignments : 0;
    return std::as_bytes(std::span(this, 1)).first(sizeof counts + num_held * sizeof manifest[0]);
  }
};

}  // namespace moewe
