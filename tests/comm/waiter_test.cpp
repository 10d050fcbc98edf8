#include "comm/waiter.hpp"

#include <gtest/gtest.h>

#include "comm/error.hpp"
#include "comm/loopback/run_ranks.hpp"

namespace moewe {
namespace {

constexpr std::chrono::seconds patience{20};

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

}  // namespace
}  // namespace moewe
