#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "comm/peer_memory.hpp"
#include "comm/topology.hpp"

namespace moewe {

/// Places of fixed length in a rank's segment of peer memory, from which chunks go to other ranks of its
/// node: the sender writes a chunk there, and the receiver reads it where it lies. A sender numbers its
/// chunks from 0, and chunk n takes place n % num_places. Flags of a segment:
///
///   | place 0 | place 1 | ... | rank 0 | rank 1 | ...
///
/// A place's flag says which chunk lies there and whom it is for, and is published when the chunk is
/// complete. A rank's flag says how many chunks of that rank, in their order, the segment's owner is done
/// with: those that are not for it are passed over. A place may be written again once the rank that its chunk
/// was for is done with it, so that nobody reads a place that is being written. Nothing here waits.
class PeerChunks {
 public:
  static std::size_t flags_needed(std::size_t num_places, std::size_t num_ranks) {
    return num_places + num_ranks;
  }

  /// Local. Of memory with as many flags as are needed, which it makes long enough for the places; ranks are
  /// fewer than 2^16. Throws Error(out_of_memory).
  PeerChunks(Rank self, const Topology& topology, std::unique_ptr<PeerMemory> memory, std::size_t num_places,
             std::size_t place_bytes);

  /// Whether chunks can go to the rank. Not to the own one.
  bool reaches(Rank peer) const;

  /// Of the own segment, one behind the other.
  std::span<std::byte> places() { return {memory_->own(), num_places_ * place_bytes_}; }

  /// The next chunk is complete in its place; one for this rank itself is for nobody.
  void post(std::uint64_t number, Rank to);

  /// Whether the rank is done with this rank's chunk of that number.
  bool is_taken(std::uint64_t number, Rank by) const;

  /// Hands over each chunk that is there for this rank, in the order in which its sender posted it: all of
  /// its place. Until `take` says no: then that chunk is handed over again next time. Returns whether it did
  /// not say no.
  bool take(const std::function<bool(Rank from, std::span<const std::byte> place)>& take);

 private:
  /// A rank of the node, and which of its chunks is the next to be looked at.
  struct Source {
    Rank rank;
    std::uint64_t next = 0;
  };

  bool take_from(Source& source, const std::function<bool(Rank, std::span<const std::byte>)>& take);
  std::size_t taken_flag(Rank sender) const { return num_places_ + index(sender); }

  Rank self_;
  std::unique_ptr<PeerMemory> memory_;
  std::size_t num_places_;
  std::size_t place_bytes_;
  std::vector<Source> sources_;
};

}  // namespace moewe
