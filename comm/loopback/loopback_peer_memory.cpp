#include "comm/loopback/loopback_peer_memory.hpp"

#include "comm/shm/segment_peer_memory.hpp"
#include "comm/together.hpp"

namespace moewe {
namespace {

class LoopbackPeerMemory : public SegmentPeerMemory {
 public:
  using SegmentPeerMemory::SegmentPeerMemory;

  /// Collective. Holds on to every segment: a peer may be done with its own while others still read it.
  void see_node(Communicator& communicator) {
    for (const auto* owner : all_gather_values(communicator, &segment())) segments_.push_back(*owner);
    communicator.barrier();  // nobody lets go before all hold on
    for (const Rank peer : communicator.topology().node_ranks(communicator.rank()))
      set_view(peer, segments_[index(peer)]->data());
  }

 private:
  std::vector<std::shared_ptr<Segment>> segments_;
};

}  // namespace

PeerMemoryOffer make_loopback_peer_memory(Communicator& communicator, MemoryMeter& meter,
                                          std::size_t num_flags) {
  std::unique_ptr<LoopbackPeerMemory> memory;
  try {
    together(communicator, [&] {
      memory = std::make_unique<LoopbackPeerMemory>(communicator, meter, num_flags, create_memfd());
    });
  } catch (const Error& error) {
    if (error.scope() != ErrorScope::shared) throw;
    return {nullptr, error.what()};
  }
  memory->see_node(communicator);
  return {std::move(memory), ""};
}

}  // namespace moewe
