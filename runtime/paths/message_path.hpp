#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "comm/message_transport.hpp"
#include "runtime/path.hpp"
#include "runtime/paths/announcement.hpp"
#include "runtime/paths/message_pools.hpp"

namespace moewe {

/// Between any two ranks: rows are packed once per destination and sent in chunks; each chunk's outputs go
/// back as one message. A pair of ranks that exchanges nothing sends nothing.
///
///   source       --> counts, manifest, row chunk 0, row chunk 1 ... -->   destination
///                <-- outputs of chunk 0, outputs of chunk 1 ...     <--
///
/// What is longer than a chunk, such as a chunk's outputs, is cut once more. A short manifest travels with
/// the counts.
///
/// Counts are received from any source, since a rank knows how many assignments come but not from whom. Their
/// receive stays posted from round to round; everything else has a receive of its exact size.
class MessagePath : public Path {
 public:
  /// A rank that rows are exchanged with, and how long messages to and from it are at most. Both
  /// sides name the same length.
  struct Peer {
    Rank rank;
    std::size_t chunk_bytes;
  };

  /// `transport` outlives the path and carries nothing else.
  MessagePath(Rank self, const std::vector<Peer>& peers, MessageTransport& transport, MemoryMeter& meter);
  ~MessagePath() override;

  PathKind kind() const override { return PathKind::message; }
  void plan_memory(const RoundSizes& sizes, MemoryPlan& memory) const override;
  void release_memory() override;
  void dispatch(const RoundShape& shape, const DispatchPlan& plan, std::span<const std::byte> x) override;
  void collect(RowTable& rows) override;
  void give_back() override;
  std::size_t collect_returned(ReturnTable& returned) override;
  bool needs_progress() const override { return !outgoing_.empty(); }
  void progress() override;
  std::optional<Rank> awaits_rows_of() const override;
  std::optional<Rank> awaits_outputs_of() const override;
  std::optional<Rank> awaits_taking_by() const override;
  void list_missing(std::size_t num_lacking, MissingParts& missing) const override;
  bool is_idle() override;

 private:
  /// Rows that travel in one message, and the assignments whose outputs come back in one.
  struct Chunk {
    std::size_t first_row;
    std::size_t num_rows;
    std::size_t first_assignment;
    std::size_t num_assignments;
  };

  struct Outgoing;
  struct Incoming;

  std::size_t rows_per_chunk(std::size_t chunk_bytes) const;
  std::vector<Chunk> cut(std::span<const PlannedAssignment> assignments, std::size_t num_rows,
                         std::size_t chunk_bytes) const;
  std::size_t chunk_bytes_of(Rank peer) const;
  void announce(Outgoing& peer);
  void post_returns(Outgoing& peer);
  void send_rows(Outgoing& peer, std::span<const std::byte> x);
  void post_counts();
  void list_missing_rows(std::size_t num_lacking, MissingParts& missing) const;
  PartName name_rows(const Incoming& source, std::size_t chunk) const;
  PartName name_outputs(const Outgoing& peer, std::size_t chunk) const;
  void begin_incoming(Rank source);
  void collect_from(Incoming& source, RowTable& rows);
  void add_chunk(Incoming& source, const Chunk& chunk, RowTable& rows) const;
  std::size_t returned_bytes(std::span<const PlannedAssignment> manifest, const Chunk& chunk) const;

  Rank self_;
  MessageTransport& transport_;
  MessagePools pools_;

  RoundShape shape_;
  std::size_t num_tokens_ = 0;
  Announcement announcement_{};
  Request counts_request_;
  std::vector<std::unique_ptr<Outgoing>> outgoing_;  // one per peer
  std::vector<std::unique_ptr<Incoming>> incoming_;  // sources of this round
};

}  // namespace moewe
