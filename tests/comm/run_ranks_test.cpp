#include "comm/loopback/run_ranks.hpp"

#include <atomic>
#include <chrono>
#include <gtest/gtest.h>
#include <stdexcept>
#include <thread>

#include "comm/error.hpp"

namespace moewe {
namespace {

TEST(RunRanks, ThrowsWhatTheFailingRankThrewAndWakesTheOthers) {
  std::atomic<int> woken{0};
  const auto work = [&](Communicator& communicator) {
    if (communicator.rank() == Rank{2}) throw std::runtime_error("rank 2 broke");
    try {
      communicator.barrier();
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

TEST(RunRanks, ThrowsTheReasonThoughWhoSuffersFromItEndsBefore) {
  std::atomic<bool> has_suffered{false};
  const auto work = [&](Communicator& communicator) {
    if (communicator.rank() == Rank{0}) {
      has_suffered = true;
      throw Error(ErrorKind::peer_failed, "another rank failed");
    }
    while (!has_suffered) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // by when rank 0 has ended
    throw Error(ErrorKind::verification, "this is why");
  };
  try {
    run_ranks(2, std::chrono::minutes(10), work);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "this is why");
  }
}

TEST(RunRanks, ARankThatGaveUpWaitingIsNotReadByTheOthers) {
  std::atomic<bool> has_given_up{false};
  std::atomic<int> num_timeouts{0}, num_peer_failures{0};
  const auto work = [&](Communicator& communicator) {
    if (communicator.rank() == Rank{1}) {
      while (!has_given_up) std::this_thread::yield();
    }
    try {
      communicator.barrier();
      ADD_FAILURE() << "rank " << number(communicator.rank()) << " passed a barrier that another had left";
    } catch (const Error& error) {
      ++(error.kind() == ErrorKind::timeout ? num_timeouts : num_peer_failures);
      has_given_up = true;
    }
  };
  run_ranks(2, std::chrono::milliseconds(100), work);
  EXPECT_EQ(num_timeouts, 1);
  EXPECT_EQ(num_peer_failures, 1);
}

TEST(RunRanks, OnSeveralNodesReachTheirNeighboursMemoryOnly) {
  const Topology topology({0, 1, 0});
  std::atomic<int> num_reached{0};
  run_ranks(topology, std::chrono::seconds(20), [&](Communicator& communicator) {
    const auto child = communicator.child();
    MemoryMeter meter;
    const PeerMemoryOffer offer = loopback_backend().make_peer_memory(*child, meter, 1);
    for (std::size_t peer = 0; peer < child->size(); ++peer) {
      EXPECT_EQ(offer.memory->reaches(rank_at(peer)), topology.share_node(child->rank(), rank_at(peer)));
      num_reached += offer.memory->reaches(rank_at(peer)) ? 1 : 0;
    }
    child->barrier();
  });
  EXPECT_EQ(num_reached, 5);
}

}  // namespace
}  // namespace moewe
