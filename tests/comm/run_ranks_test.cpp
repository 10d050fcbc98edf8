#include "comm/loopback/run_ranks.hpp"

#include <gtest/gtest.h>
#include <stdexcept>

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

}  // namespace
}  // namespace moewe
