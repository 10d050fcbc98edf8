#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

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

  void barrier(const Waiter& waiter) {
    const std::uint64_t round = round_.load(std::memory_order_acquire);
    if (num_arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == num_ranks_) {
      num_arrived_.store(0, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
    } else {
      waiter.until([&] { return round_.load(std::memory_order_acquire) != round; }, {"a collective"});
    }
  }

  void show(std::size_t rank, const void* address) { shown_[rank] = address; }
  const void* shown(std::size_t rank) const { return shown_[rank]; }

 private:
  std::size_t num_ranks_;
  std::atomic<std::size_t> num_arrived_{0};
  std::atomic<std::uint64_t> round_{0};
  std::vector<const void*> shown_;  // an element is written before a barrier and read after it
  std::shared_ptr<const std::atomic<bool>> abort_;
};

}  // namespace moewe
