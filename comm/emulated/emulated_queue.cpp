#include "comm/emulated/emulated_queue.hpp"

#include <cstring>
#include <string>
#include <utility>

#include "comm/error.hpp"

namespace moewe {
namespace {

/// Ends the work of a queue that nobody will ask for its results any more.
struct Abandoned {};

}  // namespace

EmulatedQueue::~EmulatedQueue() {
  {
    const std::lock_guard lock(mutex_);
    has_ended_ = true;
  }
  is_abandoned_.store(true, std::memory_order_relaxed);
  has_work_.notify_one();
  worker_.join();
}

template <typename Ready>
void EmulatedQueue::stall_until(Ready&& ready) {
  while (!ready()) {
    if (is_abandoned_.load(std::memory_order_relaxed)) throw Abandoned{};
    std::this_thread::yield();
  }
}

void EmulatedQueue::copy(void* to, const void* from, std::size_t bytes) {
  if (bytes == 0) return;
  enqueue([=] { std::memcpy(to, from, bytes); });
}

void EmulatedQueue::fill(void* to, unsigned char value, std::size_t bytes) {
  if (bytes == 0) return;
  enqueue([=] { std::memset(to, value, bytes); });
}

void EmulatedQueue::record(Event& event) {
  const auto& count = dynamic_cast<EmulatedEvent&>(event).count();
  const std::uint64_t number = count->recorded.fetch_add(1, std::memory_order_relaxed) + 1;
  enqueue([count, number] { count->passed.store(number, std::memory_order_release); });
}

void EmulatedQueue::wait_for(const Event& event) {
  const auto& count = dynamic_cast<const EmulatedEvent&>(event).count();
  const std::uint64_t number = count->recorded.load(std::memory_order_relaxed);
  enqueue([this, count, number] {
    stall_until([&] { return count->passed.load(std::memory_order_acquire) >= number; });
  });
}

void EmulatedQueue::set_flag(std::uint64_t* flag, std::uint64_t value) {
  enqueue([=] { std::atomic_ref(*flag).store(value, std::memory_order_release); });
}

void EmulatedQueue::wait_for_flag(const std::uint64_t* flag, std::uint64_t value) {
  enqueue([this, seen = const_cast<std::uint64_t*>(flag), value] {  // only loaded
    stall_until([&] { return std::atomic_ref(*seen).load(std::memory_order_acquire) >= value; });
  });
}

bool EmulatedQueue::is_idle() {
  const std::lock_guard lock(mutex_);
  if (failure_) std::rethrow_exception(failure_);
  return waiting_.empty() && !is_running_;
}

void EmulatedQueue::enqueue(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    if (failure_) return;
    waiting_.push_back(std::move(work));
  }
  has_work_.notify_one();
}

/// False at the end: nothing is left, or nobody needs it.
bool EmulatedQueue::take(std::function<void()>& next) {
  std::unique_lock lock(mutex_);
  is_running_ = false;
  has_work_.wait(lock, [&] { return !waiting_.empty() || has_ended_; });
  if (waiting_.empty() || failure_) return false;
  next = std::move(waiting_.front());
  waiting_.pop_front();
  is_running_ = true;
  return true;
}

void EmulatedQueue::work() {
  std::function<void()> next;
  try {
    while (take(next)) next();
  } catch (const Abandoned&) {
    return;
  } catch (const std::exception& error) {
    const std::lock_guard lock(mutex_);
    std::string what = "work on an emulated device failed: ";
    failure_ = std::make_exception_ptr(Error(ErrorKind::communication, what.append(error.what())));
    waiting_.clear();
    is_running_ = false;
  }
}

}  // namespace moewe
