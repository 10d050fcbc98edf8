#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "comm/device.hpp"
#include "comm/memory_meter.hpp"
#include "comm/peer_memory.hpp"

namespace moewe {

class FlagBoard;

/// How long an own segment is in the beginning, and how long it may become; what it holds then alone is
/// taken and counted.
struct DeviceSegment {
  DeviceSegment(std::size_t fixed) : DeviceSegment(fixed, fixed) {}  // NOLINT: what does not grow is a length
  DeviceSegment(std::size_t length_now, std::size_t most)
      : length(std::max<std::size_t>(length_now, 1)), reserved(std::max(length, most)) {}

  std::size_t length;
  std::size_t reserved;
};

/// Peer memory whose segments are device memory: of one GPU that several ranks share, of GPUs that address
/// one another, or emulated. Addresses are for kernels and queues; the host reads flags, and nothing else.
///
/// Beyond PeerMemory, a queue may write into a peer's segment, and flags take their place in a queue's work:
///
///   on the sender       fill or push into writable(peer), then publish(queue, flag, g)
///   on the receiver     wait_for(queue, sender, flag, g), then read own()
///
/// A segment grows as far as was reserved for it when it was made, at the same addresses. Before a queue is
/// given work that touches what a peer has grown to, that peer's address is asked for once more, after the
/// host has heard that it has grown. Where a GPU cannot grow memory, grow() only checks the length. Ending
/// one is local too, but waits up to a second for the other processes' ends, because memory that they still
/// address must not be freed; what they have not let go of by then is kept until the process ends.
class DevicePeerMemory : public PeerMemory {
 public:
  /// Under which own segments are counted.
  static constexpr std::string_view meter_name = "shared device segment";

  ~DevicePeerMemory() override;
  DevicePeerMemory(const DevicePeerMemory&) = delete;
  DevicePeerMemory& operator=(const DevicePeerMemory&) = delete;

  bool reaches(Rank peer) const override { return views_[index(peer)].memory != nullptr; }
  std::size_t num_flags() const override { return num_flags_; }
  std::byte* own() override { return memory_->data(); }

  /// Throws Error(out_of_memory), also beyond what was reserved. May wait for all queues of the process on
  /// that GPU.
  void grow(std::size_t bytes) override;
  std::size_t bytes_for(std::size_t bytes) const override { return std::max(bytes, length_); }
  const std::byte* of(Rank peer) const override { return data_of(peer); }

  /// What the host knows to be done, since it asked a queue or an event.
  void publish(std::size_t flag, std::uint64_t generation) override;
  std::uint64_t published(Rank peer, std::size_t flag) const override;

  /// Of a rank that it reaches, to push into.
  std::byte* writable(Rank peer) { return data_of(peer); }

  /// Behind all that the queue holds.
  void publish(Queue& queue, std::size_t flag, std::uint64_t generation);

  /// What is enqueued from now on waits for the peer's flag. The peer must not wait for this queue; on the
  /// host, Waiter::until(published(...)) before enqueueing does the same with a deadline.
  void wait_for(Queue& queue, Rank peer, std::size_t flag, std::uint64_t generation);

  /// For queues, which may set flags of other ranks' too: where nobody else sets them, generations begin and
  /// end as the queues like. The host sees them as published by `peer`.
  std::uint64_t* flag_on_device(Rank peer, std::size_t flag);

 private:
  friend class DevicePeerMemoryMaker;

  struct View {
    std::shared_ptr<SharedMemory> memory;
    std::shared_ptr<FlagBoard> board;
    bool is_other_process = false;
  };

  DevicePeerMemory(Communicator& communicator, Device& device, MemoryMeter& meter, std::size_t num_flags,
                   DeviceSegment segment);
  const View& view(Rank peer) const;
  std::byte* data_of(Rank peer) const;
  std::size_t let_go_flag() const { return num_flags_; }
  bool all_have_let_go() const;

  MemoryMeter& meter_;
  std::size_t num_flags_;
  std::size_t length_;
  std::shared_ptr<SharedMemory> memory_;
  std::shared_ptr<FlagBoard> board_;
  std::vector<View> views_;
};

/// Peer memory, or the reason why there is none. The same on every rank.
struct DevicePeerMemoryOffer {
  std::unique_ptr<DevicePeerMemory> memory;
  std::string reason_for_none;
};

/// Collective. The own segment's lengths may differ between ranks; the number of flags may
/// not. Ranks of a node reach one another, threads and processes; if any two cannot, none gets peer memory,
/// and the offer says why. Device, meter and communicator outlive it.
DevicePeerMemoryOffer make_device_peer_memory(Communicator& communicator, Device& device, MemoryMeter& meter,
                                              std::size_t num_flags, DeviceSegment segment);

}  // namespace moewe
