#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "comm/rank.hpp"
#include "comm/watch.hpp"

namespace moewe {

/// Names what a wait is for; printed when the deadline passes.
struct WaitReason {
  std::string_view what;
  std::optional<Rank> peer = std::nullopt;
  Awaited awaited = Awaited::arrival;

  /// Where set, says of what is awaited which parts are missing; asked once the deadline has passed.
  std::function<std::string()> missing = nullptr;
};

/// The one place that waits. Polls a condition, spins a little, then gives the core away between polls,
/// and ends with an error when the deadline passes or another rank has given up. Copies share what is polled
/// while they wait, and who watches over it, so that a communicator and its children do.
class Waiter {
 public:
  using Clock = std::chrono::steady_clock;

  /// `abort`, if given, is set by another rank that failed; it must outlive the waiter.
  explicit Waiter(std::chrono::duration<double> timeout, const std::atomic<bool>* abort = nullptr)
      : timeout_(std::chrono::duration_cast<Clock::duration>(timeout)), abort_(abort) {}

  std::chrono::duration<double> timeout() const { return timeout_; }

  /// Null, as at first, for nobody; else it lives until another is set. Of all copies.
  void set_watch(Watch* watch) const { shared_->watch = watch; }
  Watch* watch() const { return shared_->watch; }

  /// The same deadline and the same watch, but nothing is polled, and no flag is looked at: for waits in the
  /// middle of what the polls use.
  Waiter alone() const {
    Waiter waiter = *this;
    waiter.abort_ = nullptr;
    waiter.is_polling_ = false;
    return waiter;
  }

  /// Returns once `ready()` is true. Throws Error(timeout) after the timeout and Error(peer_failed) when the
  /// abort flag is set. `ready` must not block; what it throws passes through. `reason` is read only when the
  /// wait fails, so that `ready` may keep it up to date.
  template <typename Ready>
  void until(Ready&& ready, const WaitReason& reason) const {
    until(ready, reason, [] {});
  }

  /// The same for waits that find out only when they last for whom it is: `update` brings `reason` up to date
  /// between polls. It must not block.
  template <typename Ready, typename Update>
  void until(Ready&& ready, const WaitReason& reason, Update&& update) const {
    if (spin(ready, max_spins)) return;
    LastingWait wait(watch(), reason);
    bool is_alone = false;
    do {
      update();
      is_alone = yield_or_throw(wait, reason);
    } while (!spin(ready, is_alone ? max_spins : 1));
  }

 private:
  friend class WhileWaiting;
  using Polls = std::list<std::function<void()>>;

  struct Shared {
    Polls polls;
    Watch* watch = nullptr;
  };

  /// A wait that has outlasted its spins: shown in the rank's status while it lives, and counted for those
  /// whom it was for.
  class LastingWait {
   public:
    LastingWait(Watch* watch, const WaitReason& reason)
        : watch_(watch), peer_(reason.peer), awaited_(reason.awaited) {
      if (watch_ != nullptr) watch_->status().begin_wait(reason.what, reason.peer, since_);
    }
    ~LastingWait() {
      if (watch_ == nullptr) return;
      watch_->status().end_wait();
      watch_->tally().add(peer_, awaited_, Clock::now() - peer_since_);
    }
    LastingWait(const LastingWait&) = delete;
    LastingWait& operator=(const LastingWait&) = delete;

    /// From now on. Only where there is a watch.
    void wait_for(std::optional<Rank> peer, Clock::time_point now) {
      if (peer == peer_) return;
      watch_->status().wait_for(peer);
      watch_->tally().add(peer_, awaited_, now - peer_since_);
      peer_ = peer;
      peer_since_ = now;
    }

    Clock::time_point since() const { return since_; }
    Watch* watch() const { return watch_; }

   private:
    Clock::time_point since_ = Clock::now();
    Watch* watch_;
    std::optional<Rank> peer_;
    Clock::time_point peer_since_ = since_;
    Awaited awaited_;
  };

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
  bool yield_or_throw(LastingWait& wait, const WaitReason& reason) const;

  bool is_over(LastingWait& wait, const WaitReason& reason, Clock::time_point now) const;

  Clock::duration timeout_;
  const std::atomic<bool>* abort_;
  bool is_polling_ = true;
  std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
};

/// As long as it lives, every wait of the rank that lasts calls `poll`, whatever it waits for: so a rank that
/// waits in shared memory still moves its messages along. `poll` must neither block, nor wait, nor begin or
/// end such a registration; what it throws ends the wait.
class WhileWaiting {
 public:
  WhileWaiting(const Waiter& waiter, std::function<void()> poll)
      : shared_(waiter.shared_), mine_(shared_->polls.insert(shared_->polls.end(), std::move(poll))) {}
  ~WhileWaiting() { shared_->polls.erase(mine_); }
  WhileWaiting(const WhileWaiting&) = delete;
  WhileWaiting& operator=(const WhileWaiting&) = delete;

 private:
  std::shared_ptr<Waiter::Shared> shared_;
  Waiter::Polls::iterator mine_;
};

}  // namespace moewe
