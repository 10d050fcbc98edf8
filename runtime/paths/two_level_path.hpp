#pragma once

#include <functional>
#include <vector>

#include "comm/message_transport.hpp"
#include "comm/peer_memory.hpp"
#include "runtime/path.hpp"
#include "runtime/paths/two_level_board.hpp"
#include "runtime/paths/two_level_expert.hpp"
#include "runtime/paths/two_level_relay.hpp"
#include "runtime/paths/two_level_source.hpp"

namespace moewe {

/// What the two-level path of a rank is made from. All of it outlives the path.
struct TwoLevelParts {
  const Topology& topology;
  MessageTransport& transport;  ///< carries nothing else
  PeerMemory& memory;           ///< inside nodes; of this path alone
};

/// Between ranks of different nodes: a row crosses once per node, whichever of its ranks are to compute with
/// it, and a relay there sends back what they have made of it.
///
///   source       --> counts, manifest, rows of chunk 0, of chunk 1 ... -->   relay
///   (any rank)   <-- outputs of chunk 0, of chunk 1 ...                <--   (a rank of the other node)
///
///   experts      read rows from the relay's segment, and write outputs into their own, where the relay reads
///
/// Each rank is all three at a time, and what is left of its duty as a relay is done in whichever function is
/// called next. A round is over, for a rank, once it has sent back all that it relays. Counts are sent to
/// every relay, also where nothing follows, so that each knows when that is.
class TwoLevelPath : public Path {
 public:
  /// Under which the part of the peer memory that is this path's is to be counted.
  static constexpr std::string_view segment_name = "two-level segment";

  /// Flags that the peer memory must have.
  static std::size_t flags_needed(std::size_t num_ranks) { return two_level::Board::flags_needed(num_ranks); }

  /// `peers` are all ranks of some other nodes, whose peers are all ranks of this one. Messages have at most
  /// `chunk_bytes`; the same on all ranks. `add_planned` is told of memory that is planned only when the
  /// sources have announced what comes, before it is taken.
  TwoLevelPath(Rank self, std::vector<Rank> peers, const TwoLevelParts& parts, MemoryMeter& meter,
               std::size_t chunk_bytes, std::function<void(const MemoryPlan&)> add_planned);

  PathKind kind() const override { return PathKind::two_level; }
  void plan_memory(const RoundSizes& sizes, MemoryPlan& memory) const override;
  void release_memory() override { source_.release_memory(); }  // neighbours map the segment
  void dispatch(const RoundShape& shape, const DispatchPlan& plan, std::span<const std::byte> x) override;
  void collect(RowTable& rows) override;
  void give_back() override;
  std::size_t collect_returned(ReturnTable& returned) override;
  bool needs_progress() const override { return true; }
  void progress() override;
  void list_missing(std::size_t num_lacking, MissingParts& missing) const override;
  void check_canaries() const override { canaries_.check(board_.memory().of(self_), self_, generation_); }
  bool is_idle() override;

 private:
  /// Where the own outputs end in the segment.
  std::size_t outputs_end(const RoundSizes& sizes) const;

  /// Where what it relays begins.
  std::size_t roles_end(const RoundSizes& sizes) const;

  Rank self_;
  MessageTransport& transport_;
  two_level::Board board_;
  Canaries canaries_;
  std::uint64_t generation_ = 0;
  std::function<void(const MemoryPlan&)> add_planned_;
  two_level::Source source_;
  two_level::Relay relay_;
  two_level::Expert expert_;
};

}  // namespace moewe
