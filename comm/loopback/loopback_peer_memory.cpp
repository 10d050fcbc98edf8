#include "comm/loopback/loopback_peer_memory.hpp"

#include "comm/shm/segment.hpp"
#include "comm/shm/segment_peer_memory.hpp"
#include "comm/together.hpp"

namespace moewe {
namespace {

class LoopbackPeerMemory : public SegmentPeerMemory {
 public:
  using SegmentPeerMemory::SegmentPeerMemory;

  /// Called between two collectives, while every rank's segment exists.
  void see(const std::vector<const std::byte*>& segments) {
    for (std::size_t rank = 0; rank < segments.size(); ++rank) set_view(rank_at(rank), segments[rank]);
  }
};

}  // namespace

PeerMemoryOffer make_loopback_peer_memory(Communicator& communicator, MemoryMeter& meter,
                                          std::size_t num_flags) {
  std::unique_ptr<LoopbackPeerMemory> memory;
  together(communicator, [&] {
    memory = std::make_unique<LoopbackPeerMemory>(communicator, meter, num_flags, create_memfd());
  });
  memory->see(all_gather_values(communicator, memory->segment_start()));
  return {std::move(memory), ""};
}

}  // namespace moewe
