#include "launch/wait_report.hpp"

#include <gtest/gtest.h>
#include <vector>

namespace moewe {
namespace {

constexpr int all_others = -1;

RankState at_work(int rank, double since_s = 1) {
  RankState state;
  state.rank = static_cast<Rank>(rank);
  state.vitality = Vitality::runs;
  state.host = ShortText<64>("node0");
  state.phase = ShortText<9>("experts");
  state.step = 3;
  state.layer = 1;
  state.since_s = since_s;
  return state;
}

RankState waiting(int rank, int peer, const char* what = "rows") {
  RankState state = at_work(rank);
  state.peer = peer;
  state.what = ShortText<49>(what);
  return state;
}

RankState with(RankState state, Vitality vitality) {
  state.vitality = vitality;
  return state;
}

RankState in_step(RankState state, std::uint64_t step) {
  state.step = step;
  return state;
}

void expect_culprit(const std::vector<RankState>& states, std::size_t rank, HangReason reason) {
  for (std::size_t first = 0; first < states.size(); ++first) {
    const Culprit culprit = find_culprit(states, first);
    EXPECT_EQ(culprit.rank, rank) << "from " << first;
    EXPECT_STREQ(name_of(culprit.reason), name_of(reason)) << "from " << first;
  }
}

TEST(Culprit, IsTheRankThatWaitsForNobody) {
  expect_culprit({waiting(0, 2), waiting(1, 0), waiting(2, 3), at_work(3)}, 3, HangReason::slow);
}

TEST(Culprit, CannotGoOnWhateverItWaitsFor) {
  for (const auto& [vitality, reason] :
       {std::pair{Vitality::stopped, HangReason::stopped}, std::pair{Vitality::dead, HangReason::dead},
        std::pair{Vitality::left, HangReason::dead}, std::pair{Vitality::silent, HangReason::unreachable}}) {
    expect_culprit({waiting(0, 1), with(waiting(1, 0), vitality), waiting(2, 1)}, 1, reason);
  }
}

TEST(Culprit, IsFoundWhereTheOthersWaitForAllAlike) {
  expect_culprit({waiting(0, all_others), waiting(1, all_others), at_work(2)}, 2, HangReason::slow);
  expect_culprit({waiting(0, all_others), with(waiting(1, 0), Vitality::stopped), waiting(2, all_others)}, 1,
                 HangReason::stopped);
}

TEST(Culprit, IsDeadBeforeItIsStoppedAndStoppedBeforeItIsSlow) {
  const RankState all_alike = waiting(0, all_others);
  const RankState stopped = with(waiting(1, all_others), Vitality::stopped);
  const RankState dead = with(waiting(2, all_others), Vitality::dead);
  EXPECT_EQ(find_culprit(std::vector{all_alike, stopped, dead, at_work(3)}, 0).rank, 2U);
  EXPECT_EQ(find_culprit(std::vector{all_alike, stopped, at_work(2), at_work(3)}, 0).rank, 1U);
}

TEST(Culprit, HasComputedForTheLongest) {
  EXPECT_EQ(find_culprit(std::vector{waiting(0, all_others), at_work(1, 0.01), at_work(2, 5)}, 0).rank, 2U);
}

TEST(Culprit, IsElsewhereThanTheOthersWhereAllWait) {
  expect_culprit({waiting(0, 1), in_step(waiting(1, 2), 4), waiting(2, 0)}, 1, HangReason::disagrees);
  expect_culprit({waiting(0, all_others), waiting(1, all_others, "a scan"), waiting(2, all_others)}, 1,
                 HangReason::disagrees);
}

TEST(Culprit, IsFurthestBehindOfTwoThatDisagree) {
  expect_culprit({in_step(waiting(0, 1), 7), in_step(waiting(1, 0), 6)}, 1, HangReason::disagrees);
}

TEST(Culprit, IsAwaitedWhereAllWaitInOnePlace) {
  expect_culprit({waiting(0, 2), waiting(1, 2), waiting(2, 1)}, 2, HangReason::slow);
}

TEST(Culprit, IsThereWhateverTheStatesSay) {
  for (int peer = -3; peer < 6; ++peer) {
    const std::vector<RankState> states{waiting(0, peer), waiting(1, 0), waiting(2, 1)};
    for (std::size_t first = 0; first < states.size(); ++first) {
      EXPECT_LT(find_culprit(states, first).rank, states.size());
    }
  }
}

TEST(WaitReport, SaysWhereARankIsAndForWhomItWaits) {
  EXPECT_EQ(describe(waiting(2, 0)),
            "rank 2 on node0: step 3, layer 1, phase experts, waits for rank 0 (rows)");
  EXPECT_EQ(describe(waiting(2, all_others, "a scan")),
            "rank 2 on node0: step 3, layer 1, phase experts, waits for the others (a scan)");
  EXPECT_EQ(describe(in_step(at_work(1), 0)), "rank 1 on node0: phase experts, computes");
}

TEST(WaitReport, HasARowForEachRank) {
  const std::string text =
      wait_matrix(std::vector{waiting(0, 1), with(at_work(1), Vitality::stopped), RankState{}});
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3);
  EXPECT_NE(
      text.find("rank 1 on node0      stopped  step 3, layer 1, phase experts, computes, since 1.00 s\n"),
      std::string::npos)
      << text;
  EXPECT_NE(text.find(" silent\n"), std::string::npos) << text;
}

}  // namespace
}  // namespace moewe
