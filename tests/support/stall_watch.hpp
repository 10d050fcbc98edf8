#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "comm/watch.hpp"

namespace moewe::test {

/// Notices that nothing can move any more between ranks that are threads of one process, so that what waits
/// for something lost need not wait for a clock.
///
/// Everything that a rank may wait for counts as an event once it has happened: what is sent, received or
/// published, and where a wait that lasts begins and ends. A rank that has polled all that it polls between
/// two looks at the same count is idle at that count: the same poll would find the same again. Nothing can
/// move once all ranks are idle at the present count, or have ended.
class StallBoard {
 public:
  explicit StallBoard(std::size_t num_ranks) : idle_at_(num_ranks) {}

  void happened() { events_.fetch_add(1); }

  /// As long as so many are held, something moves by itself.
  void hold() { num_held_.fetch_add(1); }
  void let_go() { num_held_.fetch_sub(1); }

  std::uint64_t events() const { return events_.load(); }

  void become_idle(Rank rank, std::uint64_t events) {
    idle_at_[index(rank)].store(events);
    if (num_held_.load() > 0) return;
    for (const auto& idle_at : idle_at_) {
      const std::uint64_t at = idle_at.load();
      if (at != ended && at != events_.load()) return;
    }
    is_stalled_.store(true);
  }

  void end(Rank rank) {
    idle_at_[index(rank)].store(ended);
    happened();
  }

  bool is_stalled() const { return is_stalled_.load(); }

 private:
  static constexpr std::uint64_t ended = std::numeric_limits<std::uint64_t>::max();

  std::atomic<std::uint64_t> events_{1};
  std::atomic<int> num_held_{0};
  std::atomic<bool> is_stalled_{false};
  std::vector<std::atomic<std::uint64_t>> idle_at_;
};

/// Ends the waits of one rank once its board is stalled. The board outlives it.
class StallWatch : public Watch {
 public:
  StallWatch(StallBoard& board, Rank rank, std::size_t num_ranks)
      : board_(board), rank_(rank), tally_(num_ranks) {}

  RankStatus& status() override {
    board_.happened();  // a wait begins, ends, or is for another rank than before
    return status_;
  }
  WaitTally& tally() override { return tally_; }

  bool is_over(std::chrono::steady_clock::time_point /*now*/) override {
    const std::uint64_t events = board_.events();
    if (events == last_events_) board_.become_idle(rank_, events);
    last_events_ = events;
    return board_.is_stalled();
  }
  void report(const std::string& /*missing*/) override {}

 private:
  StallBoard& board_;
  Rank rank_;
  RankStatus status_;
  WaitTally tally_;
  std::uint64_t last_events_ = 0;
};

}  // namespace moewe::test
