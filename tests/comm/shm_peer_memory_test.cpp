#include "comm/shm/shm_peer_memory.hpp"

#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <string>

#include "tests/support/world.hpp"

namespace moewe {
namespace {

/// Whether every POSIX shared-memory file that this process has mapped has lost its name.
bool all_names_are_gone() {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    const bool is_ours = line.find("/dev/shm/moewe-") != std::string::npos;
    if (is_ours && line.find("(deleted)") == std::string::npos) return false;
  }
  return true;
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
      EXPECT_TRUE(all_names_are_gone());
      communicator.barrier();
    }
  });
}

}  // namespace
}  // namespace moewe
