#include "comm/emulated/emulated_queue.hpp"

#include <cstring>
#include <string>
#include <utility>

#include "comm/error.hpp"
#include "comm/recording_here.hpp"

namespace moewe {
namespace {

/// Ends the work of a queue that nobody will ask for its results any more.
struct Abandoned {};

}  // namespace

thread_local EmulatedQueue* EmulatedQueue::of_this_worker = nullptr;

bool EmulatedEvent::is_done() const {
  RecordingHere::forbid("asking an event whether it is done");
  if (point_)
    throw Error(ErrorKind::internal, "an event that was recorded into a graph is asked whether it is done");
  return count_->passed.load(std::memory_order_acquire) >= count_->recorded.load(std::memory_order_relaxed);
}

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
    if (of_this_worker->is_abandoned_.load(std::memory_order_relaxed)) throw Abandoned{};
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
  auto& emulated = dynamic_cast<EmulatedEvent&>(event);
  if (recording_) {
    return emulated.set_point(
        std::make_shared<const Recording::Point>(Recording::Point{recording_, recording_->extent_of(*this)}));
  }
  emulated.set_point(nullptr);
  const auto& count = emulated.count();
  const std::uint64_t number = count->recorded.fetch_add(1, std::memory_order_relaxed) + 1;
  enqueue([count, number] { count->pass(number); });
}

void EmulatedQueue::wait_for(const Event& event) {
  const auto& emulated = dynamic_cast<const EmulatedEvent&>(event);
  if (emulated.point()) return join(*emulated.point());
  if (recording_) throw Error(ErrorKind::internal, "work that is recorded waits for an event from outside");
  const auto& count = emulated.count();
  const std::uint64_t number = count->recorded.load(std::memory_order_relaxed);
  enqueue([count, number] {
    stall_until([&] { return count->passed.load(std::memory_order_acquire) >= number; });
  });
}

/// Where an event is: the work goes into the same recording, behind it.
void EmulatedQueue::join(const Recording::Point& point) {
  const std::shared_ptr<Recording> recording = point.recording.lock();
  if (!recording || recording->has_ended())
    throw Error(ErrorKind::internal, "a queue waits for an event that was recorded into a graph before");
  if (recording_ && recording_ != recording)
    throw Error(ErrorKind::internal, "a queue that records waits for an event of another recording");
  recording_ = recording;
  recording->join(*this, point.behind);
}

void EmulatedQueue::set_flags(std::span<const FlagValue> flags) {
  enqueue([all = std::vector(flags.begin(), flags.end())] {
    for (const FlagValue& one : all) std::atomic_ref(*one.flag).store(one.value, std::memory_order_release);
  });
}

void EmulatedQueue::wait_for_flags(std::span<const FlagValue> flags) {
  enqueue([all = std::vector(flags.begin(), flags.end())] {
    for (const FlagValue& one : all)
      stall_until([&] { return std::atomic_ref(*one.flag).load(std::memory_order_acquire) >= one.value; });
  });
}

std::unique_ptr<Graph> EmulatedQueue::record_graph(const std::function<void()>& work) {
  const RecordingHere here;
  recording_ = std::make_shared<Recording>();
  const std::shared_ptr<Recording> recording = recording_;
  recording->join(*this, {});
  try {
    work();
  } catch (...) {
    recording->end();
    throw;
  }
  recording->end();
  return std::make_unique<EmulatedGraph>(recording->take(*this));
}

void EmulatedQueue::launch(Graph& graph) {
  RecordingHere::forbid("launching a graph");
  enqueue([work = dynamic_cast<EmulatedGraph&>(graph).work()] {
    for (const auto& piece : *work) piece();
  });
}

bool EmulatedQueue::is_idle() {
  RecordingHere::forbid("asking a queue whether it is idle");
  const std::lock_guard lock(mutex_);
  if (failure_) std::rethrow_exception(failure_);
  return waiting_.empty() && !is_running_;
}

void EmulatedQueue::enqueue(std::function<void()> work) {
  if (recording_) return recording_->add(*this, std::move(work));
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
  of_this_worker = this;
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
