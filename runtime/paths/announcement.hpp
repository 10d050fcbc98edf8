#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/dispatch_plan.hpp"
#include "runtime/round_audit.hpp"

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

  /// An audited announcement ends with two checksums, behind what is sent: of the manifest, wherever that
  /// travels, and of all that comes before.
  static constexpr std::size_t seal_bytes = 2 * sizeof(std::uint64_t);
  std::array<std::byte, seal_bytes> room_for_seals;

  /// `most` is the longest message between the two ranks.
  bool holds_manifest(std::size_t most) const {
    const std::size_t room = most < sizeof counts ? 0 : (most - sizeof counts) / sizeof manifest[0];
    return counts.num_assignments <= std::min(manifest.size(), room);
  }

  /// Audited, before it is sent: `sent` is the whole manifest.
  void seal(std::size_t most, const RoundAudit& audit, Rank to, std::span<const PlannedAssignment> sent) {
    const PartLabel label = label_of(audit.self(), to);
    const std::uint64_t of_manifest = audit.checksum(manifest_label(audit.self(), to), {std::as_bytes(sent)});
    std::byte* const behind = reinterpret_cast<std::byte*>(this) + bytes(most).size();
    put_checksum(behind, 0, of_manifest);
    put_checksum(behind, 1, audit.checksum(label, {bytes(most), bytes_of_value(of_manifest)}));
  }

  /// Audited, before anything in it is believed. Returns the manifest's checksum. Throws Error(verification).
  std::uint64_t check(std::size_t most, const RoundAudit& audit, Rank from) const {
    const std::byte* const behind = bytes(most).data() + bytes(most).size();
    const std::uint64_t manifest_checksum = get_checksum(behind, 0);
    audit.check(label_of(from, audit.self()), {bytes(most), bytes_of_value(manifest_checksum)},
                get_checksum(behind, 1));
    return manifest_checksum;
  }

  static PartLabel manifest_label(Rank from, Rank to) { return {"dispatch: the manifest", from, to}; }
  static PartLabel label_of(Rank from, Rank to) { return {"dispatch: the announcement", from, to}; }

  /// What of this is sent in an audited round.
  std::span<const std::byte> sealed_bytes(std::size_t most) const {
    return std::as_bytes(std::span(this, 1)).first(bytes(most).size() + seal_bytes);
  }

  /// What of this is sent.
  std::span<const std::byte> bytes(std::size_t most) const {
    const std::size_t num_held = holds_manifest(most) ? counts.num_assignments : 0;
    return std::as_bytes(std::span(this, 1)).first(sizeof counts + num_held * sizeof manifest[0]);
  }
};

}  // namespace moewe
