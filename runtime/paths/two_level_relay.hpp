#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "runtime/canaries.hpp"
#include "runtime/path.hpp"
#include "runtime/paths/transfer.hpp"
#include "runtime/paths/two_level_board.hpp"
#include "runtime/paths/two_level_messages.hpp"

namespace moewe::two_level {

/// What a relay works on in its own segment.
struct RelaySegment {
  Board& board;
  Canaries& canaries;

  /// Is told the length to which the segment is about to grow; how much comes in a round is known only when
  /// the sources announce it.
  std::function<void(std::size_t)> plan;
};

/// The rank that receives for its node what some ranks of other nodes send to it: shows the node's ranks what
/// has arrived, and sends back, chunk by chunk, what they have made of it. In its segment, for each source:
///
///   | manifest | rows | outputs, or their sums in place of the rows |
///
/// The outputs of a chunk are those of its assignments, in the manifest's order; to be combined fast, one sum
/// per row over the ranks of the node, in rank order.
class Relay {
 public:
  /// Topology, transport and what the segment refers to outlive the role.
  Relay(Rank self, const Topology& topology, std::span<const Rank> peers, MessageTransport& transport,
        RelaySegment segment, std::size_t chunk_bytes);

  /// Most bytes that what is announced in a round within these bounds can take.
  std::size_t most_bytes(const RoundSizes& sizes) const;

  /// Begins a round; what arrives is laid out from this offset on.
  void begin(const RoundShape& shape, std::size_t first_offset);

  /// Non-blocking: does what can be done now. Throws Error(verification), naming the source, when what it
  /// announces cannot be.
  void progress();

  /// What has not come from the sources, or from the experts of the node.
  void list_missing(MissingParts& missing) const;

  /// True when all that this rank relays in the round has been sent back.
  bool is_done();

 private:
  /// A source and how far its round has come.
  struct Incoming {
    Rank from;
    Counts counts{};
    Request announcement;
    bool is_announced = false;
    bool is_manifest_read = false;
    Chunks chunks;
    std::size_t manifest_offset = 0;
    std::size_t rows_offset = 0;
    std::size_t outputs_offset = 0;
    Manifest manifest;
    Transfer manifest_transfer;
    std::vector<Transfer> receives;      // one per chunk
    std::vector<Transfer> sends;         // the same
    std::size_t num_arrived = 0;         // chunks
    std::size_t num_sent_back = 0;       // the same
    std::size_t output_bytes = 0;        // sent back
    std::vector<std::size_t> num_taken;  // assignments, of each rank of the node
  };

  /// A sum of what one rank has computed for a row, or several ranks.
  struct Partial {
    Rank computed_by;
    const std::byte* sum;
    const std::byte* checksum;  // where audited
    std::uint32_t token;
    std::uint32_t k;
  };

  void advance(Incoming& source);
  PartName name_next(const Incoming& source) const;
  void list_missing_outputs(const Incoming& source, MissingParts& missing) const;
  void read_counts(Incoming& source);
  void lay_out(Incoming& source);
  void read_manifest(Incoming& source);
  bool is_computed(const Incoming& source, std::size_t chunk) const;
  void send_back(Incoming& source, std::size_t chunk);
  std::size_t gather_outputs(Incoming& source, std::size_t chunk, std::byte* to) const;
  std::size_t sum_outputs(Incoming& source, std::size_t chunk, std::byte* to) const;
  void check_sum(const Incoming& source, const Partial& partial) const;
  void seal_sum(const Incoming& source, const Partial& sum, std::byte* checksum) const;
  std::vector<Partial> first_partials(Incoming& source, std::size_t chunk) const;
  std::size_t place(std::size_t bytes, std::string_view region);
  const std::byte* next_output(const Incoming& source, std::size_t rank_on_node) const;

  Rank self_;
  std::span<const Rank> node_;
  MessageTransport& transport_;
  Board& board_;
  std::size_t chunk_bytes_;
  std::function<void(std::size_t)> plan_segment_;
  Canaries& canaries_;
  std::vector<Incoming> incoming_;  // all ranks that this one relays for

  RoundShape shape_;
  std::size_t end_offset_ = 0;
};

}  // namespace moewe::two_level
