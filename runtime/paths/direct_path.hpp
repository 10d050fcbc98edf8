#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "runtime/canaries.hpp"
#include "runtime/output_ring.hpp"
#include "runtime/path.hpp"
#include "runtime/paths/cache_distance.hpp"
#include "runtime/paths/direct_board.hpp"

namespace moewe {

/// Between ranks that address one another's memory: nobody packs, sends or unpacks. Each rank lays its own
/// segment out anew in every round, as a direct::Board has it.
///
/// - The token's rank writes rows, manifests and letters, then shows `dispatched`. Rows that lie in a token
///   buffer stay there.
/// - The expert's rank reads the rows of a peer that has shown them where they are, chunk by chunk, and
///   writes outputs (or, to be combined fast, their sums per row) into its own segment; it has told the peer
///   their place, and shows by `returned_to` that peer how many chunks are done.
/// - The token's rank reads the outputs where they are, and shows by `summed` how many of its chunks it is
///   done with: the places of older ones are used again where outputs are kept in a ring.
///
/// Where audited, token rows are followed by their checksums, every chunk of outputs is one with its
/// checksums behind it, and known bytes lie behind each region.
///
/// A segment is laid out anew in the next round, which no rank enters before all have left this one (agree).
class DirectPath : public Path {
 public:
  /// Flags that the peer memory must have.
  static std::size_t flags_needed(std::size_t num_ranks) { return direct::Board::flags_needed(num_ranks); }

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
  void check_canaries() const override { canaries_.check(board_.memory().own(), self_, shape_.generation); }
  bool is_idle() override { return true; }

 private:
  /// A peer whose rows are computed here.
  struct Source {
    Rank peer;
    direct::Letter letter;
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

  void plant_canaries(const direct::Regions& regions);
  void prepare_rows(const DispatchPlan& plan, std::span<const std::byte> x, const direct::Regions& regions);
  void prepare_row(std::uint32_t token, std::span<const std::byte> x, const direct::Regions& regions);
  void write_letters(const DispatchPlan& plan, const direct::Regions& regions);
  const std::byte* rows_of(const Source& source) const;
  Stores output_stores(Rank peer) const;
  direct::Letter read_letter(Rank peer);
  void open_source(Rank peer, RowTable& rows);
  void collect_from(Source& source, RowTable& rows);

  Rank self_;
  std::vector<Rank> peers_;
  direct::Board board_;
  direct::CacheDistance distance_;
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
