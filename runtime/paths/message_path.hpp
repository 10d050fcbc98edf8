#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "comm/buffer.hpp"
#include "comm/message_transport.hpp"
#include "runtime/path.hpp"

namespace moewe {

/// Between any two ranks: rows are packed once per destination and sent in chunks; each chunk's outputs go
/// back as one message. A pair of ranks that exchanges nothing sends nothing.
///
///   source       --> counts, manifest, row chunk 0, row chunk 1 ... -->   destination
///                <-- outputs of chunk 0, outputs of chunk 1 ...     <--
///
/// Counts are received from any source, since a rank knows how many assignments come but not from whom. Their
/// receive stays posted from step to step; everything else has a receive of its exact size.
class MessagePath : public Path {
 public:
  /// `transport` outlives the path and carries nothing else. Rows travel in messages of at most
  /// `chunk_bytes`, or one row where a row is longer; the same on all ranks.
  MessagePath(std::vector<Rank> peers, std::size_t num_ranks, MessageTransport& transport, MemoryMeter& meter,
              std::size_t chunk_bytes);
  ~MessagePath() override;

  PathKind kind() const override { return PathKind::message; }
  void dispatch(const StepShape& shape, const DispatchPlan& plan, std::span<const std::byte> x) override;
  void collect(RowTable& rows) override;
  void give_back() override;
  void collect_returned(ReturnTable& returned) override;
  bool is_idle() override;

 private:
  /// First message of a source in a step.
  struct Counts {
    std::uint64_t generation;
    std::uint64_t num_rows;
    std::uint64_t num_assignments;
  };

  /// Rows that travel in one message, and the assignments whose outputs come back in one.
  struct Chunk {
    std::size_t first_row;
    std::size_t num_rows;
    std::size_t first_assignment;
    std::size_t num_assignments;
  };

  struct Outgoing;
  struct Incoming;

  std::size_t rows_per_chunk() const;
  std::vector<Chunk> cut(std::span<const PlannedAssignment> assignments, std::size_t num_rows) const;
  void send_to(Outgoing& peer, std::span<const std::byte> x);
  void post_counts();
  void begin_incoming(Rank source);
  void collect_from(Incoming& source, RowTable& rows);
  void add_chunk(Incoming& source, const Chunk& chunk, RowTable& rows) const;

  std::vector<Rank> peers_;
  MessageTransport& transport_;
  MemoryMeter& meter_;
  std::size_t chunk_bytes_;

  StepShape shape_;
  Counts counts_{};
  Request counts_request_;
  std::vector<std::unique_ptr<Outgoing>> outgoing_;  // one per peer
  std::vector<std::unique_ptr<Incoming>> incoming_;  // one per rank that has ever sent something
  std::vector<Incoming*> active_;                    // sources of this step
};

}  // namespace moewe
