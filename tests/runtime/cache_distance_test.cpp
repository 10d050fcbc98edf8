#include "runtime/paths/cache_distance.hpp"

#include <gtest/gtest.h>

namespace moewe::direct {
namespace {

using std::chrono::nanoseconds;

void add(CacheDistance& distance, Rank rank, nanoseconds taken, int times) {
  for (int i = 0; i < times; ++i) distance.add(rank, taken);
}

TEST(CacheDistance, IsNearUntilMostReadingsAreLong) {
  CacheDistance distance(2);
  EXPECT_FALSE(distance.is_far(Rank{1}));
  add(distance, Rank{1}, nanoseconds(40), 3);
  add(distance, Rank{1}, nanoseconds(250), 3);
  EXPECT_FALSE(distance.is_far(Rank{1}));
  add(distance, Rank{1}, nanoseconds(250), 1);
  EXPECT_TRUE(distance.is_far(Rank{1}));
}

TEST(CacheDistance, FollowsAMachineThatChangesHoweverLongItWasOtherwise) {
  CacheDistance distance(2);
  add(distance, Rank{0}, nanoseconds(40), 1000);
  add(distance, Rank{0}, nanoseconds(150), 20);
  EXPECT_TRUE(distance.is_far(Rank{0}));
  add(distance, Rank{0}, nanoseconds(150), 1000);
  add(distance, Rank{0}, nanoseconds(40), 20);
  EXPECT_FALSE(distance.is_far(Rank{0}));
}

TEST(CacheDistance, ForgetsAnInterruptedReading) {
  CacheDistance distance(1);
  add(distance, Rank{0}, nanoseconds(40), 10);
  distance.add(Rank{0}, std::chrono::milliseconds(3));
  EXPECT_FALSE(distance.is_far(Rank{0}));
}

TEST(CacheDistance, IsThatOfEachRank) {
  CacheDistance distance(3);
  add(distance, Rank{0}, nanoseconds(30), 9);
  add(distance, Rank{1}, nanoseconds(150), 9);
  add(distance, Rank{2}, nanoseconds(30), 9);
  EXPECT_FALSE(distance.is_far(Rank{0}));
  EXPECT_TRUE(distance.is_far(Rank{1}));
  EXPECT_FALSE(distance.is_far(Rank{2}));
}

}  // namespace
}  // namespace moewe::direct
