#include "placement/fair_shares.hpp"

#include <algorithm>
#include <gtest/gtest.h>
#include <numeric>

#include "comm/error.hpp"
#include "placement/split.hpp"
#include "tests/placement/random_cases.hpp"

namespace moewe {
namespace {

using Shares = std::vector<std::int64_t>;

/// One assignment after the other to the first of those that have least and want more.
Shares by_turns(const Shares& demands, std::int64_t capacity) {
  Shares shares(demands.size(), 0);
  for (; capacity > 0; --capacity) {
    std::size_t next = demands.size();
    for (std::size_t source = 0; source < demands.size(); ++source) {
      if (shares[source] == demands[source]) continue;
      if (next == demands.size() || shares[source] < shares[next]) next = source;
    }
    if (next == demands.size()) break;
    ++shares[next];
  }
  return shares;
}

TEST(FairShares, AreThoseOfGivingOneByOneByTurns) {
  test::RandomCases cases(1);
  for (int round = 0; round < 2000; ++round) {
    const Shares demands = cases.loads(cases.number(1, 12), 40);
    const std::int64_t total = std::accumulate(demands.begin(), demands.end(), std::int64_t{0});
    const auto capacity = static_cast<std::int64_t>(cases.number(0, static_cast<std::size_t>(total) + 3));
    const Shares shares = fair_shares(demands, capacity);
    EXPECT_EQ(shares, by_turns(demands, capacity)) << round;
    EXPECT_EQ(std::accumulate(shares.begin(), shares.end(), std::int64_t{0}), std::min(capacity, total));
  }
}

TEST(FairShares, GiveAllWhereThereIsRoom) {
  EXPECT_EQ(fair_shares(Shares{5, 0, 7}, 12), (Shares{5, 0, 7}));
  EXPECT_EQ(fair_shares(Shares{5, 0, 7}, max_total_load), (Shares{5, 0, 7}));
  EXPECT_EQ(fair_shares(Shares{}, 3), Shares{});
  EXPECT_EQ(fair_shares(Shares{4, 4}, 0), (Shares{0, 0}));
}

TEST(FairShares, ProtectSmallSourcesFromLargeOnes) {
  EXPECT_EQ(fair_shares(Shares{1000, 3, 1000, 2}, 20), (Shares{8, 3, 7, 2}));
  EXPECT_EQ(fair_shares(Shares{max_total_load - 1, 1}, 3), (Shares{2, 1}));
}

TEST(FairShares, RefuseWhatCannotBe) {
  EXPECT_THROW(fair_shares(Shares{1, -1}, 3), InvalidInput);
  EXPECT_THROW(fair_shares(Shares{1, 1}, -1), InvalidInput);
  EXPECT_THROW(fair_shares(Shares{max_total_load, 1}, 3), InvalidInput);
}

}  // namespace
}  // namespace moewe
