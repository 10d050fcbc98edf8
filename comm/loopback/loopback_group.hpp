#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "comm/error.hpp"
#include "comm/waiter.hpp"

namespace moewe {

/// What the thread-ranks of one loopback communicator share: a barrier, and a place per rank to show the
/// others an address.
class LoopbackGroup {
 public:
  LoopbackGroup(std::size_t num_ranks, std::shared_ptr<const std::atomic<bool>> abort)
      : num_ranks_(num_ranks), shown_(num_ranks, nullptr), abort_(std::move(abort)) {}

  std::size_t num_ranks() const { return num_ranks_; }
  const std::shared_ptr<const std::atomic<bool>>& abort() const { return abort_; }

  /// Returns once all ranks have arrived. A rank that gives up waiting breaks the group: nobody passes a
  /// barrier with it any more, since what it showed may be gone; they throw Error(peer_failed).
  void barrier(const Waiter& waiter) {
    std::uint64_t round = 0;
    {
      const std::lock_guard lock(mutex_);
      require_whole();
      round = round_.load(std::memory_order_relaxed);
      if (++num_arrived_ == num_ranks_) {
        num_arrived_ = 0;
        round_.store(round + 1, std::memory_order_release);
        return;
      }
    }
    const auto has_advanced = [&] { return round_.load(std::memory_order_acquire) != round; };
    try {
      waiter.until([&] { return has_advanced() || is_broken_.load(std::memory_order_acquire); },
                   {"a collective"});
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (has_advanced()) return;  // the last rank came just now
      is_broken_.store(true, std::memory_order_release);
      throw;
    }
    if (!has_advanced()) require_whole();
  }

  void show(std::size_t rank, const void* address) { shown_[rank] = address; }
  const void* shown(std::size_t rank) const { return shown_[rank]; }

 private:
  void require_whole() const {
    if (is_broken_.load(std::memory_order_acquire)) {
      throw Error(ErrorKind::peer_failed, "another rank gave up waiting in a collective");
    }
  }

  std::size_t num_ranks_;
  std::mutex mutex_;
  std::size_t num_arrived_ = 0;  // guarded by mutex_
  std::atomic<std::uint64_t> round_{0};
  std::atomic<bool> is_broken_{false};
  std::vector<const void*> shown_;  // an element is written before a barrier and read after it
  std::shared_ptr<const std::atomic<bool>> abort_;
};

}  // namespace moewe
