// Ranks that are threads, of which one no longer takes part.

#include "launch/watchdog.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <latch>
#include <mutex>

#include "comm/error.hpp"
#include "comm/loopback/run_ranks.hpp"

namespace moewe {
namespace {

constexpr std::size_t num_ranks = 4;
constexpr std::chrono::milliseconds timeout{100};

struct Outcome {
  std::string printed;
  std::size_t num_ended = 0;  // ranks
  std::vector<std::string> errors;
};

/// Lets each rank do its part, `part(communicator, is_over)`, where the latch opens once the job was to end.
template <typename Part>
Outcome watched(Part&& part) {
  Outcome outcome;
  std::mutex mutex;
  std::latch is_over(1);
  StatusBoard board(num_ranks);
  const WatchdogActions actions{[&](const std::string& text) {
                                  const std::lock_guard lock(mutex);
                                  outcome.printed += text;
                                },
                                [] {},
                                [&] {
                                  const std::lock_guard lock(mutex);
                                  if (outcome.num_ended++ == 0) is_over.count_down();
                                }};
  run_ranks(num_ranks, timeout, [&](Communicator& communicator) {
    const Watchdog watchdog(communicator, board, nullptr, actions);
    try {
      part(communicator, is_over);
    } catch (const Error& error) {
      const std::lock_guard lock(mutex);
      if (error.kind() == ErrorKind::timeout) outcome.errors.push_back(error.what());
    }
  });
  return outcome;
}

std::string culprit_line(int rank, const char* reason) {
  return fmt::format("culprit: rank {} on {}: {}\n", rank, host_name(), reason);
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t times = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++times;
  return times;
}

TEST(Watchdog, NamesTheRankThatComputesForTooLong) {
  for (int culprit = 0; culprit < static_cast<int>(num_ranks); ++culprit) {
    const Outcome outcome = watched([&](Communicator& communicator, std::latch& is_over) {
      if (number(communicator.rank()) != culprit) return communicator.barrier();
      communicator.waiter().watch()->status().enter_step(7, 3);
      communicator.waiter().watch()->status().enter_phase("experts", RankStatus::Clock::now());
      is_over.wait();
    });
    EXPECT_EQ(outcome.num_ended, num_ranks - 1);
    EXPECT_EQ(count(outcome.printed, "culprit: "), 1U) << outcome.printed;
    EXPECT_EQ(count(outcome.printed, culprit_line(culprit, "slow")), 1U) << outcome.printed;
    const std::string line =
        fmt::format("moewe: rank {} on {}: step 7, layer 3, phase experts, computes\n", culprit, host_name());
    EXPECT_EQ(count(outcome.printed, line), 1U) << outcome.printed;
    EXPECT_EQ(count(outcome.printed, "moewe: rank "), num_ranks) << outcome.printed;
    EXPECT_EQ(count(outcome.printed, "phase opening, waits for the others (a collective)\n"), num_ranks - 1)
        << outcome.printed;
  }
}

TEST(Watchdog, NamesTheRankThatHasLeft) {
  const Outcome outcome = watched([](Communicator& communicator, std::latch&) {
    if (communicator.rank() != Rank{1}) communicator.barrier();
  });
  EXPECT_EQ(outcome.num_ended, num_ranks - 1);
  EXPECT_EQ(count(outcome.printed, culprit_line(1, "dead")), 1U) << outcome.printed;
}

TEST(Watchdog, FollowsTheChainOfWaits) {
  const Outcome outcome = watched([](Communicator& communicator, std::latch& is_over) {
    const std::size_t rank = index(communicator.rank());
    if (rank + 1 == num_ranks) return is_over.wait();
    communicator.waiter().until([] { return false; }, {"the next rank", rank_at(rank + 1), Awaited::arrival,
                                                       [=] { return fmt::format("lacks part {}", rank); }});
  });
  EXPECT_EQ(count(outcome.printed, culprit_line(num_ranks - 1, "slow")), 1U) << outcome.printed;
  for (std::size_t rank = 0; rank + 1 < num_ranks; ++rank) {
    const std::string line = fmt::format("moewe: rank {} on {}: lacks part {}\n", rank, host_name(), rank);
    EXPECT_EQ(count(outcome.printed, line), 1U) << outcome.printed;
  }
  ASSERT_EQ(outcome.errors.size(), num_ranks - 1);
  for (const std::string& error : outcome.errors) {
    EXPECT_NE(error.find(" s for the next rank from rank "), std::string::npos) << error;
    EXPECT_NE(error.find("; lacks part "), std::string::npos) << error;
  }
}

TEST(Watchdog, NamesTheRankThatWaitsElsewhereThanTheOthers) {
  const Outcome outcome = watched([](Communicator& communicator, std::latch&) {
    const bool is_odd = communicator.rank() == Rank{2};
    communicator.waiter().until([] { return false; }, {is_odd ? "a scan" : "a broadcast"});
  });
  EXPECT_EQ(count(outcome.printed, culprit_line(2, "disagrees")), 1U) << outcome.printed;
}

TEST(Watchdog, SaysNothingWhereAllTakePart) {
  const Outcome outcome = watched([](Communicator& communicator, std::latch&) {
    for (int i = 0; i < 100; ++i) communicator.barrier();
  });
  EXPECT_EQ(outcome.num_ended, 0U);
  EXPECT_EQ(outcome.printed, "");
  EXPECT_TRUE(outcome.errors.empty());
}

TEST(Watchdog, EndsAllWaitsWithTheFirst) {
  const Outcome outcome = watched([](Communicator& communicator, std::latch&) {
    const bool is_first = communicator.rank() == Rank{0};
    const Waiter patient(std::chrono::hours(1));
    patient.set_watch(communicator.waiter().watch());
    (is_first ? communicator.waiter() : patient).until([] { return false; }, {"what never comes"});
  });
  EXPECT_EQ(outcome.num_ended, num_ranks);
  EXPECT_EQ(outcome.errors.size(), num_ranks);
}

TEST(Watchdog, TellsTheStatesOfRanksThatGoOn) {
  StatusBoard board(2);
  std::string printed;
  const WatchdogActions actions{[&](const std::string& text) { printed += text; }, [] {}, [] {}};
  board.join(Rank{0}).enter_phase("route", RankStatus::Clock::now());
  board.join(Rank{1}).begin_wait("rows", Rank{0}, RankStatus::Clock::now());
  tell_states(board, "here", actions);
  EXPECT_EQ(count(printed, "moewe: rank 0 on here: phase route, computes\n"), 1U) << printed;
  EXPECT_EQ(count(printed, "moewe: rank 1 on here: phase , waits for rank 0 (rows)\n"), 1U) << printed;
  EXPECT_EQ(count(printed, "moewe: the ranks on here:\n  rank 0 on here"), 1U) << printed;
  printed.clear();
  tell_states(board, "here", actions);  // by another process of the node
  EXPECT_EQ(count(printed, "moewe: rank "), 2U) << printed;
  EXPECT_EQ(count(printed, "the ranks on here"), 0U) << printed;
}

}  // namespace
}  // namespace moewe
