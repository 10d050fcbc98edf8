#include "comm/shm/shm_peer_memory.hpp"

#include <fmt/format.h>
#include <string>
#include <unistd.h>

#include "comm/error.hpp"
#include "comm/shm/segment_peer_memory.hpp"
#include "comm/together.hpp"

namespace moewe {
namespace {

/// Where a peer finds a segment, and how it knows that it is the right one.
struct SegmentAddress {
  pid_t process;
  int file;
  std::uint64_t name;
  std::uint64_t identity;
};

/// How segments are created and found; the two ways differ in nothing else. `name` is a random number.
struct Way {
  FileDescriptor (*create)(std::uint64_t name);
  FileDescriptor (*open)(const SegmentAddress&);
  void (*forget)(std::uint64_t name);
};

std::string text(std::uint64_t name) { return fmt::format("/moewe-{:016x}", name); }

const Way memfd_way{
    [](std::uint64_t) { return create_memfd(); },
    [](const SegmentAddress& address) { return open_memfd_of(address.process, address.file); },
    [](std::uint64_t) {},
};

const Way named_way{
    [](std::uint64_t name) { return create_named(text(name)); },
    [](const SegmentAddress& address) { return open_named(text(address.name)); },
    [](std::uint64_t name) { unlink_named(text(name)); },
};

class ShmPeerMemory : public SegmentPeerMemory {
 public:
  ShmPeerMemory(const Communicator& communicator, MemoryMeter& meter, std::size_t num_flags,
                FileDescriptor file)
      : SegmentPeerMemory(communicator, meter, num_flags, std::move(file)), num_ranks_(communicator.size()) {}

  SegmentAddress address(std::uint64_t name) const {
    return {getpid(), segment()->file(), name, identity_of(segment_start())};
  }

  void open_peer(Rank peer, const SegmentAddress& address, const Way& way) {
    Segment segment(way.open(address), Segment::Access::read, reserved_length(num_ranks_), header_bytes());
    if (identity_of(segment.data()) != address.identity) {
      throw Error(ErrorKind::communication,
                  fmt::format("the shared memory found for rank {} is not its own", number(peer)));
    }
    set_view(peer, segment.data());
    peers_.push_back(std::move(segment));
  }

 private:
  std::size_t num_ranks_;
  std::vector<Segment> peers_;
};

/// A name that is forgotten at the end of the scope: by then every peer has the file open, or nobody needs
/// it.
class TemporaryName {
 public:
  explicit TemporaryName(const Way& way) : way_(way) {}
  ~TemporaryName() { way_.forget(name_); }
  TemporaryName(const TemporaryName&) = delete;
  TemporaryName& operator=(const TemporaryName&) = delete;

  std::uint64_t get() const { return name_; }

 private:
  const Way& way_;
  std::uint64_t name_ = random_number();
};

/// Collective; throws alike on all ranks when any of them fails.
std::unique_ptr<ShmPeerMemory> connect(Communicator& communicator, MemoryMeter& meter, std::size_t num_flags,
                                       const Way& way) {
  const TemporaryName name(way);
  std::unique_ptr<ShmPeerMemory> memory;
  together(communicator, [&] {
    memory = std::make_unique<ShmPeerMemory>(communicator, meter, num_flags, way.create(name.get()));
  });
  const auto addresses = all_gather_values(communicator, memory->address(name.get()));
  together(communicator, [&] {
    for (const Rank peer : communicator.topology().node_ranks(communicator.rank())) {
      if (peer != communicator.rank()) memory->open_peer(peer, addresses[index(peer)], way);
    }
  });
  return memory;
}

/// Like connect, but a failure becomes the reason.
PeerMemoryOffer try_to_connect(Communicator& communicator, MemoryMeter& meter, std::size_t num_flags,
                               const Way& way) {
  try {
    return {connect(communicator, meter, num_flags, way), ""};
  } catch (const Error& error) {
    if (error.scope() != ErrorScope::shared) throw;
    return {nullptr, error.what()};
  }
}

}  // namespace

PeerMemoryOffer make_shm_peer_memory_by(ShmWay way, Communicator& communicator, MemoryMeter& meter,
                                        std::size_t num_flags) {
  return try_to_connect(communicator, meter, num_flags, way == ShmWay::memfd ? memfd_way : named_way);
}

PeerMemoryOffer make_shm_peer_memory(Communicator& communicator, MemoryMeter& meter, std::size_t num_flags) {
  PeerMemoryOffer offer = make_shm_peer_memory_by(ShmWay::memfd, communicator, meter, num_flags);
  if (offer.memory) return offer;
  PeerMemoryOffer fallback = make_shm_peer_memory_by(ShmWay::named, communicator, meter, num_flags);
  if (!fallback.memory) fallback.reason_for_none = offer.reason_for_none + "; " + fallback.reason_for_none;
  return fallback;
}

}  // namespace moewe
