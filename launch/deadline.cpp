#include "launch/deadline.hpp"

#include <condition_variable>
#include <mutex>
#include <utility>

namespace moewe {
namespace {

/// Whether all the time has passed before somebody asked to stop.
bool pass(std::chrono::duration<double> time, const std::stop_token& stop) {
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable_any stopped;
  stopped.wait_for(lock, stop, time, [] { return false; });
  return !stop.stop_requested();
}

}  // namespace

Deadline::Deadline(std::chrono::duration<double> timeout, std::function<void()> expire)
    : thread_([timeout, expire = std::move(expire)](const std::stop_token& stop) {
        if (pass(timeout, stop)) expire();
      }) {}

}  // namespace moewe
