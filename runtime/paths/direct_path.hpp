#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "comm/peer_memory.hpp"
#include "runtime/path.hpp"

namespace moewe {

/// Between ranks that address one another's memory: nobody packs, sends or unpacks. Each rank lays its own
/// segment out anew in every round:
///
///   | letters, one per rank | places, one per rank | manifests | token rows | outputs by source |
///
/// 1. The token's rank writes rows, manifests and letters, then publishes flag `dispatched`.
/// 2. The expert's rank reads the rows of a published peer where they are, and writes outputs (or, to be
///    combined fast, their sums per row) into its own segment; then it writes down their place for the peer
///    and publishes that peer's flag `returned`.
/// 3. The token's rank reads the outputs where they are.
///
/// A segment is overwritten in the next round, which no rank enters before all have left this one (agree).
class DirectPath : public Path {
 public:
  /// Flags that the peer memory must have.
  static std::size_t flags_needed(std::size_t num_ranks) { return 1 + num_ranks; }

  /// `peers` without the own rank; all of them are reached by `memory`, which outlives the path.
  DirectPath(Rank self, std::vector<Rank> peers, std::size_t num_ranks, PeerMemory& memory);

  PathKind kind() const override { return PathKind::direct; }
  void plan_memory(const RoundSizes& sizes, MemoryPlan& memory) const override;
  void release_memory() override {}  // peers map the segment: it cannot shrink
  void dispatch(const RoundShape& shape, const DispatchPlan& plan, std::span<const std::byte> x) override;
  void collect(RowTable& rows) override;
  void give_back() override;
  void collect_returned(ReturnTable& returned) override;
  bool is_idle() override { return true; }

 private:
  /// What one rank tells another about its segment. Offsets are from the segment's start.
  struct Letter {
    std::uint64_t generation;
    std::uint64_t manifest;         // PlannedAssignment[num_assignments]
    std::uint64_t num_assignments;  // that the writer sends to the reader
    std::uint64_t rows;             // row of token t at rows + t * row_bytes
    std::uint64_t num_rows;
  };

  /// Offset of the outputs for what the reader sent to the writer, in manifest order.
  using Place = std::uint64_t;

  /// Where the parts of a segment begin; `end` is its length.
  struct Regions {
    std::uint64_t manifests;
    std::uint64_t rows;
    std::uint64_t outputs;
    std::uint64_t end;
  };

  Regions lay_out(const RoundSizes& sizes) const;
  void copy_needed_rows(const DispatchPlan& plan, std::span<const std::byte> x, std::byte* rows);
  void write_letters(const DispatchPlan& plan, std::uint64_t manifests, std::uint64_t rows);
  void collect_from(Rank peer, RowTable& rows);
  Letter& letter_to(Rank peer);
  const Letter& letter_from(Rank peer) const;
  Place& place_for(Rank peer);
  Place place_from(Rank peer) const;
  bool has_published(Rank peer, std::size_t flag) const;
  std::size_t returned_flag(Rank reader) const { return 1 + index(reader); }

  Rank self_;
  std::vector<Rank> peers_;
  std::size_t num_ranks_;
  std::size_t places_;  // offset in every segment
  PeerMemory& memory_;

  RoundShape shape_;
  const DispatchPlan* plan_ = nullptr;
  std::uint64_t next_output_ = 0;  // offset in the own segment
  std::uint64_t outputs_end_ = 0;
  std::vector<Rank> awaited_;            // peers whose rows have not been collected
  std::vector<Rank> collected_;          // peers whose outputs have not been given back
  std::vector<Rank> awaited_returns_;    // peers whose outputs have not been seen
  std::vector<std::uint8_t> is_needed_;  // per token: goes to some peer
};

}  // namespace moewe
