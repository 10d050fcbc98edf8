#include "comm/waiter.hpp"

#include <gtest/gtest.h>

#include "comm/error.hpp"
#include "comm/loopback/run_ranks.hpp"

namespace moewe {
namespace {

constexpr std::chrono::seconds patience{20};

/// Only counts.
class CountingWatch : public Watch {
 public:
  RankStatus& status() override { return status_; }
  WaitTally& tally() override { return tally_; }
  bool is_over(std::chrono::steady_clock::time_point /*now*/) override { return false; }
  void report(const std::string& /*missing*/) override {}

 private:
  RankStatus status_;
  WaitTally tally_{3};
};

TEST(Waiter, PollsWhileAWaitLasts) {
  const Waiter waiter(patience);
  int num_polls = 0;
  const WhileWaiting polling(waiter, [&] { ++num_polls; });
  EXPECT_EQ(num_polls, 0);
  waiter.until([&] { return num_polls >= 3; }, {"three polls"});
  EXPECT_EQ(num_polls, 3);
}

TEST(Waiter, PollsNoMoreOnceTheRegistrationHasEnded) {
  const Waiter waiter(patience);
  int num_first = 0;
  int num_second = 0;
  const WhileWaiting first(waiter, [&] { ++num_first; });
  {
    const WhileWaiting second(waiter, [&] { ++num_second; });
    waiter.until([&] { return num_second == 2; }, {"two polls"});
  }
  waiter.until([&] { return num_first == 5; }, {"five polls"});
  EXPECT_EQ(num_second, 2);
}

TEST(Waiter, CopiesAndChildrenShareWhatIsPolled) {
  run_ranks(2, patience, [](Communicator& communicator) {
    int num_polls = 0;
    const auto child = communicator.child();
    const WhileWaiting polling(child->waiter(), [&] { ++num_polls; });
    communicator.waiter().until([&] { return num_polls > 0; }, {"a poll"});
    communicator.child()->waiter().until([&] { return num_polls > 1; }, {"another poll"});
  });
}

TEST(Waiter, WhatAPollThrowsEndsTheWait) {
  const Waiter waiter(patience);
  const WhileWaiting polling(waiter, [] { throw Error(ErrorKind::communication, "the wire broke"); });
  try {
    waiter.until([] { return false; }, {"what never comes"});
    ADD_FAILURE() << "the wait ended without an error";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "the wire broke");
  }
}

TEST(Waiter, TheReasonMayChangeDuringTheWait) {
  const Waiter waiter(std::chrono::milliseconds(20));
  WaitReason reason{"a rank", Rank{1}};
  try {
    waiter.until(
        [&] {
          reason.peer = Rank{2};
          return false;
        },
        reason);
    ADD_FAILURE() << "the wait ended without an error";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "waited 0.02 s for a rank from rank 2");
  }
}

TEST(Waiter, CountsWaitsThatLastForThoseWhomTheyAreFor) {
  using Duration = WaitTally::Duration;
  const Waiter waiter(patience);
  CountingWatch watch;
  waiter.set_watch(&watch);
  watch.tally().enter("combine");
  waiter.until([] { return true; }, {"what is there", Rank{0}});
  EXPECT_TRUE(watch.tally().phases().empty());

  int num_updates = 0;
  WaitReason reason{"outputs", Rank{1}, Awaited::taking};
  const auto begin = Waiter::Clock::now();
  waiter.until([&] { return num_updates >= 200; }, reason,
               [&] { reason.peer = ++num_updates < 100 ? std::optional(Rank{1}) : std::nullopt; });
  const Duration whole = Waiter::Clock::now() - begin;
  ASSERT_EQ(watch.tally().phases().size(), 1U);
  const WaitTally::PhaseSums& sums = watch.tally().phases()[0];
  EXPECT_EQ(sums.phase, "combine");
  EXPECT_EQ(sums.arrival, std::vector<Duration>(4, Duration::zero()));
  EXPECT_EQ(sums.taking[0], Duration::zero());
  EXPECT_GT(sums.taking[1], Duration::zero());
  EXPECT_EQ(sums.taking[2], Duration::zero());
  EXPECT_GT(sums.taking[3], Duration::zero());  // for all alike
  EXPECT_LE(sums.taking[1] + sums.taking[3], whole);
  waiter.set_watch(nullptr);
}

}  // namespace
}  // namespace moewe
