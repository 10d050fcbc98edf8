#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/peer_memory.hpp"
#include "runtime/round_audit.hpp"

namespace moewe::two_level {

inline constexpr std::size_t region_alignment = 64;

constexpr std::size_t aligned(std::size_t offset) {
  return (offset + region_alignment - 1) / region_alignment * region_alignment;
}

/// What a relay tells the ranks of its node about what a source has sent. Offsets are from the segment's
/// start.
struct Letter {
  std::uint64_t num_rows;
  std::uint64_t num_assignments;
  std::uint64_t manifest;
  std::uint64_t rows;
};

/// What relays and experts of a node show one another in their segments of peer memory:
///
///   | letters, one per source | places, one per source | where audited, their checksums | what the roles lay
///   out behind |
///
/// and by two flags per source: how many of its chunks in a round have arrived (the relay's), and of how many
/// the outputs are written (the experts'). The first one seen of a round makes letter and place readable.
class Board {
 public:
  static std::size_t flags_needed(std::size_t num_ranks) { return 2 * num_ranks; }

  /// `memory` outlives the board.
  Board(std::size_t num_ranks, PeerMemory& memory);

  /// Where the roles' part of a segment begins.
  std::size_t end(bool is_audited) const {
    const std::size_t checksums = is_audited ? 2 * sizeof(std::uint64_t) : 0;
    return aligned(num_ranks_ * (sizeof(Letter) + sizeof(std::uint64_t) + checksums));
  }

  PeerMemory& memory() { return memory_; }
  const PeerMemory& memory() const { return memory_; }

  /// The first `num_chunks` chunks of a source have arrived here; at least one, at most Chunks::most.
  void show_arrived(Rank source, std::uint64_t generation, std::size_t num_chunks);
  std::size_t num_arrived(Rank relay, Rank source, std::uint64_t generation) const;

  /// This rank has written the outputs of what the first `num_chunks` chunks hold for it.
  void show_computed(Rank source, std::uint64_t generation, std::size_t num_chunks);
  std::size_t num_computed(Rank expert, Rank source, std::uint64_t generation) const;

  /// Where audited, what is read is compared with the checksum that was written with it: these throw
  /// Error(verification).
  void write_letter(const RoundAudit& audit, Rank source, const Letter& letter);
  Letter read_letter(const RoundAudit& audit, Rank relay, Rank source) const;

  /// Offset of the outputs for a source in the expert's segment, in the order of its manifest.
  void write_place(const RoundAudit& audit, Rank source, std::uint64_t offset);
  std::uint64_t read_place(const RoundAudit& audit, Rank expert, Rank source) const;

 private:
  std::size_t flag_arrived(Rank source) const { return index(source); }
  std::size_t flag_computed(Rank source) const { return num_ranks_ + index(source); }
  std::size_t seen(Rank writer, std::size_t flag, std::uint64_t generation) const;

  /// Numbers of the checksums of letters, then places, in a segment.
  std::size_t number_of_letter(Rank source) const { return index(source); }
  std::size_t number_of_place(Rank source) const { return num_ranks_ + index(source); }

  std::size_t num_ranks_;
  std::size_t places_;     // offset
  std::size_t checksums_;  // offset, where audited
  PeerMemory& memory_;
};

}  // namespace moewe::two_level
