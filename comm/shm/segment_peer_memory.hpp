#pragma once

#include <memory>
#include <vector>

#include "comm/communicator.hpp"
#include "comm/memory_meter.hpp"
#include "comm/peer_memory.hpp"
#include "comm/shm/segment.hpp"

namespace moewe {

std::uint64_t random_number();

/// Peer memory over segments that are mapped into the address space, however they came there. A segment is
///
///   | identity | flag 0 | flag 1 | ... | owner's bytes ...
///
/// with one cache line for each of the first ones, so that a peer that polls a flag disturbs no other.
class SegmentPeerMemory : public PeerMemory {
 public:
  /// Local. Creates the own segment in `file`. No peer is reachable until its view is set.
  SegmentPeerMemory(const Communicator& communicator, MemoryMeter& meter, std::size_t num_flags,
                    FileDescriptor file);
  ~SegmentPeerMemory() override;

  bool reaches(Rank peer) const override { return views_[index(peer)] != nullptr; }
  std::size_t num_flags() const override { return num_flags_; }
  std::byte* own() override;
  void grow(std::size_t bytes) override;
  std::size_t bytes_for(std::size_t bytes) const override { return header_bytes() + bytes; }
  const std::byte* of(Rank peer) const override;
  void publish(std::size_t flag, std::uint64_t generation) override;
  std::uint64_t published(Rank peer, std::size_t flag) const override;

  /// Where the own segment begins, identity and flags included.
  const std::byte* segment_start() const { return segment_->data(); }

 protected:
  /// Identity and flags; at least as long as every peer's segment is when it can be found.
  std::size_t header_bytes() const;

  /// `segment` begins with the peer's identity and must stay mapped as long as this object lives.
  void set_view(Rank peer, const std::byte* segment) { views_[index(peer)] = segment; }

  /// A number that no other segment on this machine carries, at the start of the segment.
  static std::uint64_t identity_of(const std::byte* segment);
  const std::shared_ptr<Segment>& segment() const { return segment_; }

 private:
  MemoryMeter& meter_;
  std::size_t num_flags_;
  std::shared_ptr<Segment> segment_;
  std::vector<const std::byte*> views_;
};

}  // namespace moewe
