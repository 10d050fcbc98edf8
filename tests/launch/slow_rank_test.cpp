#include "launch/slow_rank.hpp"

#include <gtest/gtest.h>
#include <random>

#include "comm/loopback/run_ranks.hpp"

namespace moewe {
namespace {

constexpr double step_seconds = 10;

/// Every rank computes for two seconds, three phases of as many ranks each.
std::vector<PhaseSeconds> equal_phases(std::size_t num_ranks) {
  return std::vector<PhaseSeconds>(num_ranks, {0.5, 0, 0.5, 0, 1, 0});
}

std::optional<SlowRank> find(const std::vector<RankWait>& waits, std::size_t num_ranks = 3) {
  return find_slow_rank(waits, equal_phases(num_ranks), step_seconds);
}

TEST(SlowRank, IsNobodyWhereNobodyWaits) {
  EXPECT_FALSE(find({}));
  EXPECT_FALSE(find({}, 1));
}

TEST(SlowRank, IsNobodyWhereAllWaitForOneAnother) {
  std::vector<RankWait> waits;
  for (std::int32_t rank = 0; rank < 3; ++rank) {
    for (std::int32_t peer = 0; peer < 3; ++peer) {
      if (peer != rank) waits.push_back({rank, peer, Phase::combine, Awaited::arrival, 2 + 0.1 * rank});
    }
    waits.push_back({rank, -1, Phase::agree, Awaited::arrival, 3});
  }
  EXPECT_FALSE(find(waits));
}

TEST(SlowRank, IsNobodyWhereWaitsAreShort) {
  const auto waits = [](double seconds) {
    return std::vector<RankWait>{{1, 0, Phase::combine, Awaited::arrival, seconds},
                                 {2, 0, Phase::combine, Awaited::arrival, seconds}};
  };
  EXPECT_FALSE(find(waits(0.05 * step_seconds)));
  const auto slow = find(waits(0.051 * step_seconds));
  ASSERT_TRUE(slow);
  EXPECT_EQ(slow->rank, 0U);
  EXPECT_DOUBLE_EQ(slow->share, 0.051);
}

TEST(SlowRank, IsNamedWithThePhaseInWhichItIsWaitedFor) {
  for (std::size_t p = 0; p < num_phases; ++p) {
    for (std::int32_t rank = 0; rank < 3; ++rank) {
      std::vector<RankWait> waits;
      for (std::int32_t other = 0; other < 3; ++other) {
        if (other == rank) continue;
        waits.push_back({other, rank, static_cast<Phase>(p), Awaited::arrival, 4});
        waits.push_back({other, rank, static_cast<Phase>((p + 1) % num_phases), Awaited::arrival, 1});
      }
      const auto slow = find(waits);
      ASSERT_TRUE(slow);
      EXPECT_EQ(slow->rank, static_cast<std::size_t>(rank));
      EXPECT_EQ(slow->phase, static_cast<Phase>(p));
      EXPECT_DOUBLE_EQ(slow->seconds, 5);
    }
  }
}

/// A rank that waits as long as it is waited for only passes it on.
TEST(SlowRank, IsAtTheEndOfTheChain) {
  const auto slow =
      find({{2, 1, Phase::dispatch, Awaited::arrival, 4}, {1, 0, Phase::dispatch, Awaited::arrival, 4}});
  ASSERT_TRUE(slow);
  EXPECT_EQ(slow->rank, 0U);
}

TEST(SlowRank, WaitsTheLeastWhereAllWaitForAll) {
  const auto slow = find({{0, -1, Phase::agree, Awaited::arrival, 5},
                          {1, -1, Phase::agree, Awaited::arrival, 1},
                          {2, -1, Phase::agree, Awaited::arrival, 6}});
  ASSERT_TRUE(slow);
  EXPECT_EQ(slow->rank, 1U);
  EXPECT_EQ(slow->phase, Phase::agree);
  EXPECT_DOUBLE_EQ(slow->seconds, 4.5);
}

TEST(SlowRank, ComputesLongerOrItsMessagesAreLate) {
  const auto waits = [](Awaited awaited) {
    return std::vector<RankWait>{{0, 2, Phase::combine, awaited, 3}, {1, 2, Phase::combine, awaited, 3}};
  };
  EXPECT_EQ(find(waits(Awaited::arrival))->kind, SlowKind::messages_come_late);
  EXPECT_EQ(find(waits(Awaited::taking))->kind, SlowKind::takes_messages_late);
  for (const Phase phase : {Phase::route, Phase::plan, Phase::experts}) {
    auto phases = equal_phases(3);
    phases[2][static_cast<std::size_t>(phase)] += 3;
    for (const Awaited awaited : {Awaited::arrival, Awaited::taking}) {
      EXPECT_EQ(find_slow_rank(waits(awaited), phases, step_seconds)->kind, SlowKind::computes_longer);
    }
    phases = equal_phases(3);
    phases[1][static_cast<std::size_t>(phase)] += 3;  // of another
    EXPECT_EQ(find_slow_rank(waits(Awaited::arrival), phases, step_seconds)->kind,
              SlowKind::messages_come_late);
  }
}

TEST(SlowRank, IsToldPerStep) {
  const SlowRank slow{3, 1.5, 0.24, Phase::dispatch, SlowKind::messages_come_late};
  EXPECT_EQ(describe(slow, 100),
            "rank 3 made others wait 15 ms per step (24 % of the step) in dispatch: its messages come late");
}

TEST(RankWaits, AreThoseOfTheSixPhasesThatMatter) {
  using std::chrono::milliseconds;
  WaitTally tally(2);
  tally.add(Rank{1}, Awaited::arrival, milliseconds(7));  // before the first phase
  tally.enter("results");
  tally.add(Rank{1}, Awaited::arrival, milliseconds(5));
  tally.enter("combine");
  tally.add(Rank{1}, Awaited::arrival, milliseconds(20));
  tally.add(Rank{1}, Awaited::taking, milliseconds(30));
  tally.add(std::nullopt, Awaited::arrival, milliseconds(40));
  tally.add(Rank{0}, Awaited::arrival, milliseconds(1));  // a thousandth
  tally.enter("agree");
  tally.enter("combine");
  tally.add(Rank{1}, Awaited::arrival, milliseconds(2));
  const std::vector<RankWait> waits = waits_in_steps(tally, Rank{0}, 1);
  ASSERT_EQ(waits.size(), 3U);
  EXPECT_EQ(waits[0].peer, 1);
  EXPECT_DOUBLE_EQ(waits[0].seconds, 0.022);
  EXPECT_EQ(waits[1].peer, -1);
  EXPECT_DOUBLE_EQ(waits[1].seconds, 0.040);
  EXPECT_EQ(waits[2].awaited, Awaited::taking);
  for (const RankWait& wait : waits) EXPECT_EQ(wait.phase, Phase::combine);
  tally.clear();
  EXPECT_TRUE(waits_in_steps(tally, Rank{0}, 1).empty());
}

TEST(RankWaits, AreGatheredTheLongestFirst) {
  run_ranks(3, std::chrono::seconds(60), [](Communicator& communicator) {
    std::vector<RankWait> mine;
    for (std::int32_t i = 0; i < number(communicator.rank()); ++i) {
      mine.push_back({number(communicator.rank()), i, Phase::plan, Awaited::arrival, 1.0 + i});
    }
    const std::vector<RankWait> all = gather_waits(communicator, mine);
    ASSERT_EQ(all.size(), communicator.rank() == Rank{0} ? 3U : 0U);
    if (all.empty()) return;
    EXPECT_DOUBLE_EQ(all[0].seconds, 2);
    EXPECT_EQ(all[1].rank, 1);
    EXPECT_EQ(all[2].rank, 2);
  });
}

}  // namespace
}  // namespace moewe
