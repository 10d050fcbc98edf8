#include "launch/graceful_end.hpp"

#include <gtest/gtest.h>

namespace moewe {
namespace {

TEST(GracefulEnd, LeavesBeforeMpirunKills) {
  for (const char* const timeout : {"1", "2", "30"}) {
    EXPECT_LT(seconds_of_grace(true, timeout), std::stod(timeout));
    EXPECT_GE(seconds_of_grace(true, timeout), std::stod(timeout) / 2);
  }
  EXPECT_EQ(seconds_of_grace(true, nullptr), seconds_of_grace(true, "1"));
  EXPECT_EQ(seconds_of_grace(true, "soon"), seconds_of_grace(true, "1"));
  EXPECT_GT(seconds_of_grace(true, "0"), 0);
}

TEST(GracefulEnd, IsNotPutOffWhereNothingIsSavedByThat) {
  EXPECT_FALSE(put_off_end());
  EXPECT_FALSE(PutsOffEnd::is_asked_for());
}

}  // namespace
}  // namespace moewe
