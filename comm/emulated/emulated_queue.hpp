#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>

#include "comm/queue.hpp"

namespace moewe {

/// How often an event was recorded, and of these the last that was passed. Shared with the work of queues,
/// which may outlast the event.
struct EventCount {
  std::atomic<std::uint64_t> recorded{0};
  std::atomic<std::uint64_t> passed{0};
};

class EmulatedEvent : public Event {
 public:
  bool is_done() const override {
    return count_->passed.load(std::memory_order_acquire) >= count_->recorded.load(std::memory_order_relaxed);
  }
  const std::shared_ptr<EventCount>& count() const { return count_; }

 private:
  std::shared_ptr<EventCount> count_ = std::make_shared<EventCount>();
};

/// A queue on a thread of its own. Waits for events and flags hold that thread up, as they do a stream; the
/// destructor ends them and drops what is behind them.
class EmulatedQueue : public Queue {
 public:
  EmulatedQueue() : worker_([this] { work(); }) {}
  ~EmulatedQueue() override;
  EmulatedQueue(const EmulatedQueue&) = delete;
  EmulatedQueue& operator=(const EmulatedQueue&) = delete;

  void copy(void* to, const void* from, std::size_t bytes) override;
  void fill(void* to, unsigned char value, std::size_t bytes) override;
  void record(Event& event) override;
  void wait_for(const Event& event) override;
  void set_flag(std::uint64_t* flag, std::uint64_t value) override;
  void wait_for_flag(const std::uint64_t* flag, std::uint64_t value) override;
  bool is_idle() override;

 protected:
  StreamHandle current_stream() override { return nullptr; }
  void check_launch(const char*, int) override {}
  void enqueue(std::function<void()> work) override;

 private:
  void work();
  bool take(std::function<void()>& next);

  /// On the worker: returns once `ready()` is true, or throws Abandoned at the queue's end.
  template <typename Ready>
  void stall_until(Ready&& ready);

  std::mutex mutex_;
  std::condition_variable has_work_;
  std::deque<std::function<void()>> waiting_;  // guarded by mutex_, as the three below
  bool is_running_ = false;
  bool has_ended_ = false;
  std::exception_ptr failure_;
  std::atomic<bool> is_abandoned_{false};
  std::thread worker_;  // last: it uses all of the above
};

}  // namespace moewe
