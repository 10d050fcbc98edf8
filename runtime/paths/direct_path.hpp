#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "comm/peer_memory.hpp"
#include "runtime/canaries.hpp"
#include "runtime/output_ring.hpp"
#include "runtime/path.hpp"

namespace moewe {

/// Between ranks that address one another's memory: nobody packs, sends or unpacks. Each rank lays its own
/// segment out anew in every round:
///
///   | letters, one per rank | places, one per rank | manifests | token rows | outputs by source |
///
/// 1. The token's rank writes rows, manifests and letters, then publishes flag `dispatched`. Rows that lie in
/// a
///    token buffer stay there.
/// 2. The expert's rank reads the rows of a published peer where they are, chunk by chunk, and writes outputs
///    (or, to be combined fast, their sums per row) into its own segment; it has told the peer their place,
///    and publishes on that peer's flag `returned` how many chunks are done.
/// 3. The token's rank reads the outputs where they are, and publishes on flag `summed` how many of
///    its chunks it is done with: the places of older ones are used again where outputs are kept in a ring.
///
/// Where audited, places are followed by checksums and token rows by theirs, every chunk of outputs is one
/// with its checksums behind it, and known bytes lie behind each region.
///
/// A segment is laid out anew in the next round, which no rank enters before all have left this one (agree).
class DirectPath : public Path {
 public:
  /// Flags that the peer memory must have.
  static std::size_t flags_needed(std::size_t num_ranks) { return 2 + num_ranks; }

  /// `peers` without the own rank; all of them are reached by `memory`, which outlives the path as the token
  /// buffers do.
  DirectPath(Rank self, std::vector<Rank> peers, std::size_t num_ranks, PeerMemory& memory,
             const TokenBuffers& token_buffers);

  PathKind kind() const override { return PathKind::direct; }
  void plan_memory(const RoundSizes& sizes, MemoryPlan& memory) const override;
  void release_memory() override {}  // peers map the segment: it cannot shrink
  void dispatch(const RoundShape& shape, const DispatchPlan& plan, std::span<const std::byte> x) override;
  void collect(RowTable& rows) override;
  void give_back() override;
  std::size_t collect_returned(ReturnTable& returned) override;
  void free_tokens(std::size_t end) override;
  std::optional<Rank> awaits_rows_of() const override;
  std::optional<Rank> awaits_outputs_of() const override;
  void list_missing(std::size_t num_lacking, MissingParts& missing) const override;
  void check_canaries() const override { canaries_.check(memory_.own(), self_, shape_.generation); }
  bool is_idle() override { return true; }

 private:
  /// In the place of a token buffer: the segment.
  static constexpr std::uint64_t in_segment = UINT64_MAX;

  /// What one rank tells another about its segment. Offsets are from the segment's start.
  struct Letter {
    std::uint64_t generation;
    std::uint64_t manifest;         // PlannedAssignment[num_assignments]
    std::uint64_t num_assignments;  // that the writer sends to the reader
    TokenPlace rows;                // row of token t at rows + t * row_bytes
    std::uint64_t num_rows;
    std::uint64_t chunk_tokens;
  };

  /// Where audited, from one rank to another beside its letter: it is read only as what these say it is.
  struct Seals {
    std::uint64_t row_checksums;  // where they lie in the segment, by token
    std::uint64_t manifest;
    std::uint64_t letter;  // also of the two above
    std::uint64_t place;
  };

  /// Where the parts of a segment begin; `end` is its length.
  struct Regions {
    std::uint64_t manifests;
    std::uint64_t rows;
    std::uint64_t row_checksums;
    std::uint64_t outputs;
    std::uint64_t ring_bytes;  // of each source, 0 for an output each
    std::uint64_t outputs_end;
    std::array<std::uint64_t, 4> canaries;  // where audited, behind letters, manifests, rows and outputs
    std::uint64_t end;
  };

  /// A peer whose rows are computed here.
  struct Source {
    Rank peer;
    Letter letter;
    OutputRing outputs;
    FlowChunks chunks;
    bool in_hand = false;                      // a chunk of it has not been given back
    const std::byte* row_checksums = nullptr;  // where audited, by token
  };

  /// A peer that computes rows of this rank.
  struct Target {
    Rank peer;
    FlowChunks chunks;
    OutputPlaces outputs;  // once the peer has told where
  };

  Regions lay_out(const RoundSizes& sizes) const;
  void plant_canaries(const Regions& regions);
  void prepare_rows(const DispatchPlan& plan, std::span<const std::byte> x, const Regions& regions);
  void prepare_row(std::uint32_t token, std::span<const std::byte> x, const Regions& regions);
  void write_letters(const DispatchPlan& plan, const Regions& regions);
  void seal_letter(Rank peer, std::span<const std::byte> manifest, std::uint64_t row_checksums);
  Seals check_letter(Rank peer, const Letter& letter) const;
  OutputRegion checked_place_from(Rank peer) const;
  const std::byte* rows_of(const Source& source) const;
  void open_source(Rank peer, RowTable& rows);
  void collect_from(Source& source, RowTable& rows);
  Letter& letter_to(Rank peer);
  const Letter& letter_from(Rank peer) const;
  OutputRegion& place_for(Rank peer);
  const OutputRegion& place_from(Rank peer) const;
  Seals& seals_to(Rank peer);
  const Seals& seals_from(Rank peer) const;

  /// How far a flag of this round has come: 0 unless it is of this round.
  std::uint64_t progress(Rank peer, std::size_t flag) const;
  void publish_progress(std::size_t flag, std::uint64_t progress);
  std::size_t returned_flag(Rank reader) const;

  Rank self_;
  std::vector<Rank> peers_;
  std::size_t num_ranks_;
  std::size_t places_;  // offset in every segment
  std::size_t seals_;   // the same, where audited
  PeerMemory& memory_;
  const TokenBuffers& token_buffers_;

  RoundShape shape_;
  std::size_t num_tokens_ = 0;
  OutputRegion next_outputs_;      // in the own segment
  std::uint64_t outputs_end_ = 0;  // the same
  Canaries canaries_;
  std::vector<Rank> awaited_;            // peers that have not published their rows
  std::vector<Source> sources_;          // with rows to compute
  std::vector<Target> targets_;          // with outputs to come
  std::vector<std::uint8_t> is_needed_;  // per token: goes to some peer
};

}  // namespace moewe
