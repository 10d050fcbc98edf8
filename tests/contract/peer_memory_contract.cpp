#include <cstring>
#include <gtest/gtest.h>

#include "comm/error.hpp"
#include "tests/support/world.hpp"

namespace moewe {
namespace {

using test::on_every_rank;

constexpr std::size_t num_flags = 3;

void await(const Communicator& communicator, const PeerMemory& memory, Rank peer, std::uint64_t generation) {
  communicator.waiter().until([&] { return memory.published(peer, 1) == generation; }, {"a flag", peer});
}

TEST(PeerMemoryContract, PeersSeeWhatWasWrittenBeforeTheFlag) {
  on_every_rank([](Communicator& communicator, const Backend& backend) {
    MemoryMeter meter;
    const PeerMemoryOffer offer = backend.make_peer_memory(communicator, meter, num_flags);
    ASSERT_NE(offer.memory, nullptr) << offer.reason_for_none;
    PeerMemory& memory = *offer.memory;
    // Grows a little in every generation, so that peers read beyond what they first mapped.
    for (std::uint64_t generation = 1; generation <= 40; ++generation) {
      const std::size_t length = generation * 5000;
      memory.grow(length);
      std::memset(memory.own(), static_cast<int>(generation + index(communicator.rank())), length);
      memory.publish(1, generation);
      for (std::size_t peer = 0; peer < communicator.size(); ++peer) {
        await(communicator, memory, rank_at(peer), generation);
        const std::byte* bytes = memory.of(rank_at(peer));
        const auto expected = static_cast<std::byte>(generation + peer);
        EXPECT_EQ(bytes[0], expected);
        EXPECT_EQ(bytes[length - 1], expected);
      }
      communicator.barrier();  // nobody overwrites before all have read
    }
  });
}

TEST(PeerMemoryContract, GrowingKeepsAddressesContentsAndCounts) {
  on_every_rank([](Communicator& communicator, const Backend& backend) {
    MemoryMeter meter;
    {
      const PeerMemoryOffer offer = backend.make_peer_memory(communicator, meter, num_flags);
      PeerMemory& memory = *offer.memory;
      memory.grow(100);
      std::byte* const own = memory.own();
      own[99] = std::byte{42};
      memory.grow(1 << 20);
      EXPECT_EQ(memory.own(), own);
      EXPECT_EQ(memory.own()[99], std::byte{42});
      EXPECT_GE(meter.bytes(), std::size_t{1} << 20);
      memory.grow(10);  // never shrinks
      EXPECT_GE(meter.bytes(), std::size_t{1} << 20);
      communicator.barrier();
    }
    EXPECT_EQ(meter.bytes(), 0U);
  });
}

TEST(PeerMemoryContract, FlagsAreSeparateAndBeginAtZero) {
  on_every_rank([](Communicator& communicator, const Backend& backend) {
    MemoryMeter meter;
    const PeerMemoryOffer offer = backend.make_peer_memory(communicator, meter, num_flags);
    PeerMemory& memory = *offer.memory;
    EXPECT_TRUE(memory.reaches(communicator.rank()));
    for (std::size_t flag = 0; flag < num_flags; ++flag)
      EXPECT_EQ(memory.published(communicator.rank(), flag), 0U);
    memory.publish(2, 9);
    EXPECT_EQ(memory.published(communicator.rank(), 0), 0U);
    EXPECT_EQ(memory.published(communicator.rank(), 2), 9U);
    EXPECT_THROW(memory.publish(num_flags, 1), Error);
    communicator.barrier();
  });
}

TEST(PeerMemoryContract, MoreMemoryThanTheMachineHasIsAnError) {
  on_every_rank([](Communicator& communicator, const Backend& backend) {
    MemoryMeter meter;
    const PeerMemoryOffer offer = backend.make_peer_memory(communicator, meter, num_flags);
    try {
      offer.memory->grow(std::size_t{1} << 60);
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::out_of_memory);
    }
    communicator.barrier();
  });
}

}  // namespace
}  // namespace moewe
