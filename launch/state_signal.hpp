#pragma once

#include <atomic>
#include <csignal>
#include <functional>
#include <thread>

namespace moewe {

/// SIGUSR1, which asks a process where its ranks are. It is blocked in all threads and taken by one that does
/// nothing else: it answers while the ranks compute for however long, nothing has to be safe inside a signal
/// handler, and no rank is interrupted.
///
/// Blocks the signal for this thread and those that it starts from now on; until somebody takes it, it stays
/// pending.
void block_state_signal();

/// As long as it lives, every SIGUSR1 that this process gets is answered by `answer`, on a thread of its own.
class StateSignal {
 public:
  explicit StateSignal(std::function<void()> answer);
  ~StateSignal();
  StateSignal(const StateSignal&) = delete;
  StateSignal& operator=(const StateSignal&) = delete;

 private:
  void run();

  std::function<void()> answer_;
  std::atomic<bool> is_ending_{false};
  std::thread thread_;
};

}  // namespace moewe
