#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "comm/peer_memory.hpp"
#include "runtime/output_ring.hpp"
#include "runtime/path.hpp"
#include "runtime/token_buffers.hpp"

namespace moewe::direct {

/// What one rank tells another about its segment. Offsets are from the segment's start.
struct Letter {
  std::uint64_t generation;
  std::uint64_t manifest;         ///< PlannedAssignment[num_assignments]
  std::uint64_t num_assignments;  ///< that the writer sends to the reader
  TokenPlace rows;                ///< row of token t at rows + t * row_bytes
  std::uint64_t num_rows;
  std::uint64_t chunk_tokens;
  std::uint64_t row_checksums;      ///< where audited, by token
  std::uint64_t manifest_checksum;  ///< where audited
};

/// In the place of a token buffer: the segment.
inline constexpr std::uint64_t in_segment = UINT64_MAX;

/// Where the parts of a rank's own segment begin in one round; `end` is its length.
struct Regions {
  std::uint64_t manifests;
  std::uint64_t rows;
  std::uint64_t row_checksums;
  std::uint64_t outputs;
  std::uint64_t ring_bytes;  ///< of each source, 0 for an output each
  std::uint64_t outputs_end;
  std::array<std::uint64_t, 4> canaries;  ///< where audited, behind letters, manifests, rows and outputs
  std::uint64_t end;
};

/// How the ranks of a direct path lay out their segments of peer memory, and what they show one another
/// there:
///
///   | letters, one per rank | places, one per rank | where audited, their checksums | manifests | token rows
///   | outputs by source |
///
/// and by one flag for each thing that a rank comes on with. A flag of the round makes readable what was
/// written before it was shown. Where audited, what is read is compared with the checksum that was written
/// with it: the functions that read throw Error(verification).
class Board {
 public:
  /// What a rank comes on with.
  enum Flag : std::size_t {
    dispatched,      ///< 1: its letters and rows are there
    summed,          ///< chunks of its own tokens whose sums are done
    first_returned,  ///< chunks of a rank's tokens whose outputs are there, a flag for each rank
  };
  static Flag returned_to(Rank rank) { return static_cast<Flag>(first_returned + index(rank)); }
  static std::size_t flags_needed(std::size_t num_ranks) { return first_returned + num_ranks; }

  /// `memory` outlives the board.
  Board(Rank self, std::size_t num_ranks, PeerMemory& memory);

  PeerMemory& memory() const { return memory_; }

  /// Of outputs there is a ring for each of so many peers where that is less than one place for each output.
  Regions lay_out(const RoundSizes& sizes, std::size_t num_peers) const;

  /// From now on flags are those of this round.
  void enter(std::uint64_t generation) { generation_ = generation; }

  /// How far a rank has come: 0 at first.
  std::uint64_t progress(Rank peer, Flag flag) const {
    const std::uint64_t published = memory_.published(peer, flag);
    return published >> progress_bits == generation_ ? published & most_progress : 0;
  }
  void show(Flag flag, std::uint64_t progress);

  /// To be shown by `dispatched`, as the manifest is that it names. Where audited, sets the letter's checksum
  /// of the manifest.
  void write_letter(const RoundAudit& audit, Rank to, Letter letter);
  Letter read_letter(const RoundAudit& audit, Rank from) const;

  /// A copy of a manifest, once it has been made.
  void check_manifest(const RoundAudit& audit, Rank from, const Letter& letter,
                      std::span<const PlannedAssignment> manifest) const;

  /// Of the outputs of that rank's rows in the writer's segment; to be shown by `returned_to`.
  void write_place(const RoundAudit& audit, Rank to, const OutputRegion& place);
  OutputRegion read_place(const RoundAudit& audit, Rank from) const;

 private:
  /// A flag is a generation, and how far the rank has come in it.
  static constexpr unsigned progress_bits = 28;
  static constexpr std::uint64_t most_progress = (std::uint64_t{1} << progress_bits) - 1;

  // Numbers of the checksums of letters, then places, in a segment.
  std::size_t number_of_letter(Rank to) const { return index(to); }
  std::size_t number_of_place(Rank to) const { return num_ranks_ + index(to); }

  Rank self_;
  std::size_t num_ranks_;
  std::size_t places_;     // offset in every segment
  std::size_t checksums_;  // the same, where audited
  PeerMemory& memory_;
  std::uint64_t generation_ = 0;
};

}  // namespace moewe::direct
