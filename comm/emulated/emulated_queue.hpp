#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>

#include "comm/emulated/recording.hpp"
#include "comm/queue.hpp"

namespace moewe {

/// How often an event was recorded, and of these the last that was passed. Shared with the work of queues,
/// which may outlast the event.
struct EventCount {
  std::atomic<std::uint64_t> recorded{0};
  std::atomic<std::uint64_t> passed{0};

  /// It never goes back, also where queues pass theirs in another order.
  void pass(std::uint64_t number) {
    std::uint64_t before = passed.load(std::memory_order_relaxed);
    while (before < number && !passed.compare_exchange_weak(before, number, std::memory_order_acq_rel)) {
    }
  }
};

class EmulatedEvent : public Event {
 public:
  bool is_done() const override;
  const std::shared_ptr<EventCount>& count() const { return count_; }

  /// Where in a recording it was recorded last; null where that was in the work of a queue.
  const std::shared_ptr<const Recording::Point>& point() const { return point_; }
  void set_point(std::shared_ptr<const Recording::Point> point) { point_ = std::move(point); }

 private:
  std::shared_ptr<EventCount> count_ = std::make_shared<EventCount>();
  std::shared_ptr<const Recording::Point> point_;
};

/// A queue on a thread of its own. Waits for events and flags hold that thread up, as they do a stream; the
/// destructor ends them and drops what is behind them. What a graph launches is done there too, branches one
/// after the other.
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
  void set_flags(std::span<const FlagValue> flags) override;
  void wait_for_flags(std::span<const FlagValue> flags) override;
  std::unique_ptr<Graph> record_graph(const std::function<void()>& work) override;
  void launch(Graph& graph) override;
  bool is_idle() override;

  /// For Recording.
  void stop_recording() { recording_.reset(); }

 protected:
  StreamHandle current_stream() override { return nullptr; }
  void check_launch(const char*, int) override {}
  void enqueue(std::function<void()> work) override;

 private:
  void work();
  bool take(std::function<void()>& next);

  void join(const Recording::Point& point);

  /// On a worker: returns once `ready()` is true, or throws Abandoned at the end of the worker's queue.
  template <typename Ready>
  static void stall_until(Ready&& ready);

  static thread_local EmulatedQueue* of_this_worker;

  std::shared_ptr<Recording> recording_;  // that what is enqueued becomes part of

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
