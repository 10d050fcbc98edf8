#include "comm/shm/shm_peer_memory.hpp"

#include <cstring>
#include <filesystem>
#include <gtest/gtest.h>

#include "tests/support/world.hpp"

namespace moewe {
namespace {

std::size_t count_named_segments() {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
    if (entry.path().filename().string().rfind("moewe-", 0) == 0) ++count;
  }
  return count;
}

TEST(ShmPeerMemory, WorksEitherWayAndLeavesNoName) {
  test::on_every_rank([](Communicator& communicator, const Backend&) {
    for (const ShmWay way : {ShmWay::memfd, ShmWay::named}) {
      MemoryMeter meter;
      const PeerMemoryOffer offer = make_shm_peer_memory_by(way, communicator, meter, 1);
      ASSERT_NE(offer.memory, nullptr) << offer.reason_for_none;
      offer.memory->grow(1000);
      std::memset(offer.memory->own(), 1 + number(communicator.rank()), 1000);
      offer.memory->publish(0, 1);
      for (std::size_t peer = 0; peer < communicator.size(); ++peer) {
        communicator.waiter().until([&] { return offer.memory->published(rank_at(peer), 0) == 1; },
                                    {"a flag"});
        EXPECT_EQ(offer.memory->of(rank_at(peer))[999], static_cast<std::byte>(1 + peer));
      }
      communicator.barrier();
      EXPECT_EQ(count_named_segments(), 0U);
      communicator.barrier();
    }
  });
}

}  // namespace
}  // namespace moewe
