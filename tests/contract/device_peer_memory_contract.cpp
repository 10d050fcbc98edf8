#include <algorithm>
#include <chrono>
#include <gtest/gtest.h>
#include <span>
#include <thread>
#include <unistd.h>
#include <vector>

#include "comm/device_buffer.hpp"
#include "comm/device_peer_memory.hpp"
#include "comm/error.hpp"
#include "tests/support/device_side.hpp"
#include "tests/support/odd_device.hpp"
#include "tests/support/world.hpp"

namespace moewe {
namespace {

using test::OddDevice;
using test::on_every_device;
using test::Side;
using test::wait;

constexpr std::size_t num_flags = 3;
constexpr std::size_t block = 4099;

/// Of rank `from` for rank `to`.
unsigned char value_of(std::size_t from, std::size_t to, std::uint64_t generation) {
  return static_cast<unsigned char>(from * 31 + to * 7 + generation);
}

/// The ranks that reach one another, this one included.
std::span<const Rank> neighbours(const Communicator& communicator) {
  return communicator.topology().node_ranks(communicator.rank());
}

/// Where this rank is among them.
std::size_t place(const Communicator& communicator) {
  const auto ranks = neighbours(communicator);
  return static_cast<std::size_t>(std::find(ranks.begin(), ranks.end(), communicator.rank()) - ranks.begin());
}

/// Writes this rank's block of every peer's segment.
void push(Communicator& communicator, DevicePeerMemory& memory, Queue& queue, DeviceBuffer& staging,
          std::uint64_t generation) {
  const std::size_t self = place(communicator);
  for (const Rank peer : neighbours(communicator)) {
    queue.fill(staging.data(), value_of(index(communicator.rank()), index(peer), generation), block);
    queue.copy(memory.writable(peer) + self * block, staging.data(), block);
  }
}

TEST(DevicePeerMemoryContract, WhatIsPushedBeforeAFlagIsSeenBehindIt) {
  on_every_device([](Communicator& communicator, Side& side) {
    const auto peers = neighbours(communicator);
    const std::size_t length = peers.size() * block;
    auto offer = make_device_peer_memory(communicator, *side.device, side.meter, num_flags, length);
    ASSERT_NE(offer.memory, nullptr) << offer.reason_for_none;
    DevicePeerMemory& memory = *offer.memory;
    DeviceBuffer staging(*side.device, side.meter, "staging", block);
    DeviceBuffer seen(*side.device, side.meter, "seen", length, MemoryKind::pinned);
    const auto queue = side.device->make_queue();
    communicator.barrier();  // nobody allocates while others' queues wait for its flags
    for (std::uint64_t generation = 1; generation <= 10; ++generation) {
      push(communicator, memory, *queue, staging, generation);
      memory.publish(*queue, 1, generation);
      for (const Rank peer : peers) memory.wait_for(*queue, peer, 1, generation);
      queue->copy(seen.data(), memory.own(), length);
      wait(communicator, *queue);
      for (std::size_t i = 0; i < length; ++i) {
        const auto expected = value_of(index(peers[i / block]), index(communicator.rank()), generation);
        ASSERT_EQ(seen.data()[i], std::byte{expected}) << "byte " << i << ", generation " << generation;
      }
      communicator.barrier();  // nobody overwrites before all have read
    }
  });
}

TEST(DevicePeerMemoryContract, HostsPublishToQueuesAndSeeWhatQueuesPublish) {
  on_every_device([](Communicator& communicator, Side& side) {
    auto offer = make_device_peer_memory(communicator, *side.device, side.meter, num_flags, 1);
    ASSERT_NE(offer.memory, nullptr) << offer.reason_for_none;
    DevicePeerMemory& memory = *offer.memory;
    const auto queue = side.device->make_queue();
    const auto peers = neighbours(communicator);
    memory.wait_for(*queue, peers.front(), 0, 7);
    memory.publish(*queue, 2, 9);
    communicator.barrier();
    for (const Rank peer : peers) EXPECT_EQ(memory.published(peer, 2), 0U);
    communicator.barrier();
    if (communicator.rank() == peers.front()) memory.publish(0, 7);
    for (const Rank peer : peers)
      communicator.waiter().until([&] { return memory.published(peer, 2) == 9; }, {"a flag", peer});
    wait(communicator, *queue);
    EXPECT_THROW(memory.publish(*queue, num_flags, 1), Error);
    communicator.barrier();
  });
}

TEST(DevicePeerMemoryContract, GrowsAsFarAsIsReservedWhileItIsPushedInto) {
  on_every_device([](Communicator& communicator, Side& side) {
    constexpr std::size_t first = 1000, most = std::size_t{6} << 20U;
    const auto peers = neighbours(communicator);
    const std::size_t size = peers.size(), self = place(communicator);
    auto offer = make_device_peer_memory(communicator, *side.device, side.meter, num_flags, {first, most});
    ASSERT_NE(offer.memory, nullptr) << offer.reason_for_none;
    DevicePeerMemory& memory = *offer.memory;
    const Rank next = peers[(self + 1) % size], previous = peers[(self + size - 1) % size];
    std::byte* const own = memory.own();
    const std::byte* const there = memory.of(next);
    const auto queue = side.device->make_queue();
    std::size_t length = first;
    unsigned char value = 1;
    for (; length <= most / 3; length *= 3, ++value) {
      memory.grow(length);
      EXPECT_EQ(side.meter.bytes(), length);
      communicator.barrier();
      ASSERT_EQ(memory.writable(next), there);
      queue->fill(memory.writable(next), value, length);
      memory.publish(*queue, 0, value);
      test::wait(communicator, *queue);
      communicator.waiter().until([&] { return memory.published(previous, 0) == value; },
                                  {"a push", previous});
      std::vector<unsigned char> seen(length);
      queue->copy(seen.data(), memory.own(), length);
      test::wait(communicator, *queue);
      ASSERT_EQ(seen, std::vector<unsigned char>(length, value));
      communicator.barrier();
      memory.grow(length + length / 2);  // keeps what it holds
      queue->copy(seen.data(), memory.own(), length);
      test::wait(communicator, *queue);
      ASSERT_EQ(seen, std::vector<unsigned char>(length, value));
      ASSERT_EQ(memory.own(), own);
    }
    EXPECT_THROW(memory.grow(2 * most), Error);
    communicator.barrier();
  });
}

bool are_processes(Communicator& communicator) {
  const auto processes = all_gather_values(communicator, getpid());
  return std::adjacent_find(processes.begin(), processes.end()) == processes.end();
}

TEST(DevicePeerMemoryContract, IsKeptUntilOtherProcessesHaveLetGoOfIt) {
  test::on_every_rank([](Communicator& communicator, const Backend& backend) {
    Side side(communicator);
    if (!side.device || !are_processes(communicator)) return;
    const auto told = backend.make_peer_memory(communicator, side.meter, 1).memory;
    auto offer = make_device_peer_memory(communicator, *side.device, side.meter, num_flags, block);
    ASSERT_NE(offer.memory, nullptr) << offer.reason_for_none;
    const bool is_first = communicator.rank() == Rank{0};
    if (!is_first) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      told->publish(0, 1);
    }
    offer.memory.reset();
    for (std::size_t peer = 1; is_first && peer < communicator.size(); ++peer)
      EXPECT_EQ(told->published(rank_at(peer), 0), 1U);
    communicator.barrier();
  });
}

/// Why there is none if the last rank's device is odd.
std::string reason_with(Communicator& communicator, Side& side, bool is_emulated, bool addresses_others) {
  OddDevice odd(*side.device, is_emulated, addresses_others);
  const bool is_last = index(communicator.rank()) + 1 == communicator.size();
  Device& mine = is_last ? static_cast<Device&>(odd) : *side.device;
  const auto offer = make_device_peer_memory(communicator, mine, side.meter, 1, 1);
  EXPECT_EQ(offer.memory == nullptr, !offer.reason_for_none.empty());
  return offer.reason_for_none;
}

TEST(DevicePeerMemoryContract, WhereTwoDevicesDoNotReachOneAnotherNoRankHasAny) {
  on_every_device([](Communicator& communicator, Side& side) {
    const Rank last = rank_at(communicator.size() - 1);
    if (communicator.topology().node_ranks(last).size() == 1) return;
    const bool is_emulated = side.device->is_emulated();
    EXPECT_EQ(reason_with(communicator, side, is_emulated, true), "");
    EXPECT_NE(reason_with(communicator, side, !is_emulated, true).find("another kind of device"),
              std::string::npos);
    EXPECT_NE(reason_with(communicator, side, is_emulated, false).find("does not address"),
              std::string::npos);
    EXPECT_EQ(side.meter.bytes(), 0U);
  });
}

/// Has no way to hand its memory on, as GPUs in some containers.
class LonelyDevice : public OddDevice {
 public:
  explicit LonelyDevice(Device& real) : OddDevice(real, real.is_emulated(), true) {}
  std::unique_ptr<SharedMemory> share(std::size_t bytes, std::size_t reserved) override {
    return std::make_unique<Lonely>(OddDevice::share(bytes, reserved));
  }

 private:
  class Lonely : public SharedMemory {
   public:
    explicit Lonely(std::unique_ptr<SharedMemory> real) : real_(std::move(real)) {}
    std::byte* data() override { return real_->data(); }
    MemoryHandle handle() const override { throw Error(ErrorKind::communication, "no IPC here"); }
    void grow(std::size_t bytes) override { real_->grow(bytes); }
    void follow() override {}

   private:
    std::unique_ptr<SharedMemory> real_;
  };
};

TEST(DevicePeerMemoryContract, MemoryIsHandedOnToOtherProcessesAlone) {
  on_every_device([](Communicator& communicator, Side& side) {
    LonelyDevice lonely(*side.device);
    const auto offer = make_device_peer_memory(communicator, lonely, side.meter, num_flags, block);
    const bool has_neighbours =
        are_processes(communicator) && communicator.topology().node_ranks(communicator.rank()).size() > 1;
    const auto all = all_gather_values(communicator, has_neighbours ? 1 : 0);
    const bool is_needed = std::find(all.begin(), all.end(), 1) != all.end();
    EXPECT_EQ(offer.memory == nullptr, is_needed) << offer.reason_for_none;
    EXPECT_EQ(offer.reason_for_none.find("no IPC here") != std::string::npos, is_needed);
    communicator.barrier();
  });
}

}  // namespace
}  // namespace moewe
