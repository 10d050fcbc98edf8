#include "comm/shm/shm_communicator.hpp"

#include <array>
#include <atomic>
#include <gtest/gtest.h>
#include <stdexcept>

#include "comm/error.hpp"
#include "comm/loopback/loopback_peer_memory.hpp"
#include "comm/loopback/run_ranks.hpp"

namespace moewe {
namespace {

constexpr std::chrono::seconds patience{20};

bool is_shm(const Communicator& communicator) {
  return dynamic_cast<const ShmCommunicator*>(&communicator) != nullptr;
}

std::int64_t number_of_ranks(Communicator& communicator) {
  std::array<std::int64_t, 1> sum{1};
  communicator.all_reduce({.sums = sum, .minima = {}, .maxima = {}});
  return sum[0];
}

TEST(ShmCommunicator, ARankThatFailsWakesTheOthers) {
  std::atomic<int> woken{0};
  const auto work = [&](Communicator& parent) {
    MemoryMeter meter;
    const auto communicator = make_shm_communicator(parent.child(), make_loopback_peer_memory, meter);
    EXPECT_TRUE(is_shm(*communicator));
    if (communicator->rank() == Rank{2}) throw std::runtime_error("rank 2 broke");
    try {
      communicator->barrier();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::peer_failed);
      ++woken;
      throw;
    }
  };
  try {
    run_ranks(4, std::chrono::minutes(10), work);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "rank 2 broke");
  }
  EXPECT_EQ(woken, 3);
}

TEST(ShmCommunicator, IsCountedUnderOneNameAsLongAsItLives) {
  run_ranks(3, patience, [](Communicator& parent) {
    MemoryMeter meter;
    {
      const auto communicator = make_shm_communicator(parent.child(), make_loopback_peer_memory, meter);
      ASSERT_TRUE(is_shm(*communicator));
      ASSERT_EQ(meter.by_name().size(), 1U);
      EXPECT_EQ(meter.by_name().begin()->first, communicator_name);
      EXPECT_GE(meter.bytes(), ShmCommunicator::segment_bytes());
      const std::size_t before = meter.bytes();
      EXPECT_EQ(number_of_ranks(*communicator), 3);
      EXPECT_EQ(meter.bytes(), before);
    }
    EXPECT_EQ(meter.bytes(), 0U);
  });
}

TEST(ShmCommunicator, WithoutPeerMemoryThingsStayAsTheyAre) {
  const auto none = [](Communicator&, MemoryMeter&, std::size_t) {
    return PeerMemoryOffer{nullptr, "there is none"};
  };
  run_ranks(3, patience, [&](Communicator& parent) {
    MemoryMeter meter;
    const auto communicator = make_shm_communicator(parent.child(), none, meter);
    EXPECT_FALSE(is_shm(*communicator));
    EXPECT_EQ(number_of_ranks(*communicator), 3);
  });
}

TEST(ShmCommunicator, ManyRanksDoNotReadFromEachOfThem) {
  run_ranks(ShmCommunicator::max_ranks + 1, patience, [](Communicator& parent) {
    MemoryMeter meter;
    const auto communicator = make_shm_communicator(parent.child(), make_loopback_peer_memory, meter);
    EXPECT_FALSE(is_shm(*communicator));
    EXPECT_EQ(number_of_ranks(*communicator), static_cast<std::int64_t>(parent.size()));
    EXPECT_EQ(meter.peak_bytes(), 0U);
  });
}

}  // namespace
}  // namespace moewe
