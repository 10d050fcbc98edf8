#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "comm/rank.hpp"

namespace moewe {

/// Memory that the ranks of one node read directly: every rank owns one segment and sees the segments of its
/// node's ranks. The owner alone writes a segment. Offsets into a segment mean the same on every rank.
///
/// Each segment also carries numbered flags. `publish` makes everything that the owner wrote before visible
/// to a peer that then sees the flag's new generation: release on one side, acquire on the other. A flag
/// belongs to one purpose and its generations only grow, so that an old one is never mistaken for a new one.
///
/// Creating one is collective over all ranks of a communicator. Nothing else here is, and nothing blocks.
class PeerMemory {
 public:
  virtual ~PeerMemory() = default;

  /// Under which own segments are counted.
  static constexpr std::string_view meter_name = "shared segment";

  /// What a segment takes beside its owner's bytes.
  static constexpr std::size_t bytes_beside(std::size_t num_flags) {
    constexpr std::size_t bytes_of_each = 64;  // flags, and what tells one segment from another
    return bytes_of_each * (1 + num_flags);
  }

  /// Whether the peer's segment can be addressed. True for the own rank.
  virtual bool reaches(Rank peer) const = 0;

  virtual std::size_t num_flags() const = 0;

  /// Start of the own segment; it never moves.
  virtual std::byte* own() = 0;

  /// Makes the own segment at least this long, keeping what it holds. Throws Error(out_of_memory).
  virtual void grow(std::size_t bytes) = 0;

  /// What the own segment counts for once it has grown to this length.
  virtual std::size_t bytes_for(std::size_t bytes) const = 0;

  /// Start of a reachable peer's segment as this rank sees it; it never moves. Bytes beyond what the peer had
  /// grown to when it published are not to be touched.
  virtual const std::byte* of(Rank peer) const = 0;

  virtual void publish(std::size_t flag, std::uint64_t generation) = 0;

  /// The generation that the peer last published under this flag; 0 at first.
  virtual std::uint64_t published(Rank peer, std::size_t flag) const = 0;
};

}  // namespace moewe
