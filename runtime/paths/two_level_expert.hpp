#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "runtime/path.hpp"
#include "runtime/paths/two_level_board.hpp"
#include "runtime/paths/two_level_messages.hpp"

namespace moewe::two_level {

/// The rank of the experts: reads rows where its node's relays received them, and writes outputs (or, to be
/// combined fast, their sums per row) into its own segment, where the relays read them.
class Expert {
 public:
  /// The board outlives the role.
  Expert(Rank self, const Topology& topology, std::span<const Rank> peers, Board& board,
         std::size_t chunk_bytes);

  /// Begins a round. Outputs take the own segment between these offsets.
  void begin(const RoundShape& shape, std::size_t first_output, std::size_t outputs_end);

  /// Appends what the relays have shown since the last call. Throws Error(verification), naming the source,
  /// when it is more than was agreed on.
  void collect(RowTable& rows);

  /// What the relays have not shown of the rows that this rank lacks.
  void list_missing(std::size_t num_lacking, MissingParts& missing) const;

  /// All rows collected so far have their outputs written.
  void give_back();

 private:
  /// A source and how far its round has come.
  struct Incoming {
    Rank from;
    Rank relay;
    bool is_known = false;
    Letter letter{};
    Chunks chunks;
    Manifest manifest;
    std::byte* next_output = nullptr;
    std::size_t num_collected = 0;   // chunks
    std::size_t num_given_back = 0;  // the same
  };

  void read_letter(Incoming& source);
  void collect_from(Incoming& source, RowTable& rows);
  void collect_chunk(Incoming& source, std::size_t chunk, RowTable& rows);

  std::span<const Rank> node_;
  std::size_t position_;  // of the own rank on its node
  Board& board_;
  std::size_t chunk_bytes_;
  std::vector<Incoming> incoming_;  // one per rank of other nodes

  RoundShape shape_;
  std::size_t next_output_ = 0;  // offset in the own segment
  std::size_t outputs_end_ = 0;
};

}  // namespace moewe::two_level
