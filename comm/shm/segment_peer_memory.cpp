#include "comm/shm/segment_peer_memory.hpp"

#include <atomic>
#include <cstring>
#include <random>

#include "comm/error.hpp"

namespace moewe {
namespace {

constexpr std::size_t cache_line = 64;

std::uint64_t* flag_address(const std::byte* segment, std::size_t flag) {
  const std::byte* address = segment + cache_line * (1 + flag);
  // A view of a peer's segment is mapped read-only; its flags are only ever loaded through this pointer.
  return reinterpret_cast<std::uint64_t*>(const_cast<std::byte*>(address));
}

}  // namespace

std::uint64_t random_number() {
  std::random_device random;
  return (static_cast<std::uint64_t>(random()) << 32) | random();
}

SegmentPeerMemory::SegmentPeerMemory(const Communicator& communicator, MemoryMeter& meter,
                                     std::size_t num_flags, FileDescriptor file)
    : meter_(meter),
      num_flags_(num_flags),
      segment_(std::make_shared<Segment>(std::move(file), Segment::Access::write,
                                         reserved_length(communicator.size()))),
      views_(communicator.size(), nullptr) {
  grow(0);
  const std::uint64_t identity = random_number();
  std::memcpy(segment_->data(), &identity, sizeof identity);
  views_[index(communicator.rank())] = segment_->data();
}

SegmentPeerMemory::~SegmentPeerMemory() { meter_.remove(meter_name, segment_->size()); }

std::size_t SegmentPeerMemory::header_bytes() const { return bytes_beside(num_flags_); }

std::byte* SegmentPeerMemory::own() { return segment_->data() + header_bytes(); }

void SegmentPeerMemory::grow(std::size_t bytes) {
  const std::size_t before = segment_->size();
  segment_->grow(header_bytes() + bytes);
  meter_.add(meter_name, segment_->size() - before);
}

const std::byte* SegmentPeerMemory::of(Rank peer) const {
  expects(reaches(peer), "peer memory is asked only for ranks that it reaches");
  return views_[index(peer)] + header_bytes();
}

void SegmentPeerMemory::publish(std::size_t flag, std::uint64_t generation) {
  expects(flag < num_flags_, "a flag's number is below num_flags");
  std::atomic_ref(*flag_address(segment_->data(), flag)).store(generation, std::memory_order_release);
}

std::uint64_t SegmentPeerMemory::published(Rank peer, std::size_t flag) const {
  expects(flag < num_flags_ && reaches(peer), "flags are read from ranks that peer memory reaches");
  return std::atomic_ref(*flag_address(views_[index(peer)], flag)).load(std::memory_order_acquire);
}

std::uint64_t SegmentPeerMemory::identity_of(const std::byte* segment) {
  std::uint64_t identity = 0;
  std::memcpy(&identity, segment, sizeof identity);
  return identity;
}

}  // namespace moewe
