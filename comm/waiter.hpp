#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "comm/rank.hpp"

namespace moewe {

/// Names what a wait is for; printed when the deadline passes.
struct WaitReason {
  std::string_view what;
  std::optional<Rank> peer = std::nullopt;
};

/// The one place that waits. Polls a condition, spins a little, then gives the core away between polls,
/// and ends with an error when the deadline passes or another rank has given up. Copies share what is polled
/// while they wait, so that a communicator and its children do.
class Waiter {
 public:
  using Clock = std::chrono::steady_clock;

  /// `abort`, if given, is set by another rank that failed; it must outlive the waiter.
  explicit Waiter(std::chrono::duration<double> timeout, const std::atomic<bool>* abort = nullptr)
      : timeout_(std::chrono::duration_cast<Clock::duration>(timeout)), abort_(abort) {}

  std::chrono::duration<double> timeout() const { return timeout_; }

  /// Returns once `ready()` is true. Throws Error(timeout) after the timeout and Error(peer_failed) when the
  /// abort flag is set. `ready` must not block; what it throws passes through. `reason` is read only when the
  /// wait fails, so that `ready` may keep it up to date.
  template <typename Ready>
  void until(Ready&& ready, const WaitReason& reason) const {
    if (spin(ready, max_spins)) return;
    const Clock::time_point deadline = Clock::now() + timeout_;
    bool is_alone = yield_or_throw(deadline, reason);
    while (!spin(ready, is_alone ? max_spins : 1)) is_alone = yield_or_throw(deadline, reason);
  }

 private:
  friend class WhileWaiting;
  using Polls = std::list<std::function<void()>>;

  /// Beyond these a waiting rank that shares its core only keeps the others from running.
  static constexpr int max_spins = 50;
  static constexpr std::chrono::microseconds most_spinning{2};

  /// True once `ready` is; false after so many polls, or earlier where polls take long.
  template <typename Ready>
  static bool spin(Ready& ready, int most) {
    constexpr int polls_per_look = 4;
    if (ready()) return true;
    if (most == 1) return false;
    const Clock::time_point end = Clock::now() + most_spinning;
    for (int polls = 1; polls < most; ++polls) {
      pause();
      if (ready()) return true;
      if (polls % polls_per_look == 0 && Clock::now() >= end) return false;
    }
    return false;
  }

  static void pause();

  /// Returns whether nobody else wanted the core.
  bool yield_or_throw(Clock::time_point deadline, const WaitReason& reason) const;

  Clock::duration timeout_;
  const std::atomic<bool>* abort_;
  std::shared_ptr<Polls> polls_ = std::make_shared<Polls>();
};

/// As long as it lives, every wait of the rank that lasts calls `poll`, whatever it waits for: so a rank that
/// waits in shared memory still moves its messages along. `poll` must neither block, nor wait, nor begin or
/// end such a registration; what it throws ends the wait.
class WhileWaiting {
 public:
  WhileWaiting(const Waiter& waiter, std::function<void()> poll)
      : polls_(waiter.polls_), mine_(polls_->insert(polls_->end(), std::move(poll))) {}
  ~WhileWaiting() { polls_->erase(mine_); }
  WhileWaiting(const WhileWaiting&) = delete;
  WhileWaiting& operator=(const WhileWaiting&) = delete;

 private:
  std::shared_ptr<Waiter::Polls> polls_;
  Waiter::Polls::iterator mine_;
};

}  // namespace moewe
