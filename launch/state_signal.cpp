#include "launch/state_signal.hpp"

#include <pthread.h>
#include <utility>

namespace moewe {
namespace {

sigset_t state_signal() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGUSR1);
  return signals;
}

}  // namespace

void block_state_signal() {
  const sigset_t signals = state_signal();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

StateSignal::StateSignal(std::function<void()> answer) : answer_(std::move(answer)) {
  block_state_signal();
  thread_ = std::thread([this] { run(); });
}

StateSignal::~StateSignal() {
  is_ending_.store(true);
  pthread_kill(thread_.native_handle(), SIGUSR1);
  thread_.join();
}

void StateSignal::run() {
  const sigset_t signals = state_signal();
  int number = 0;
  while (sigwait(&signals, &number) == 0 && !is_ending_.load()) answer_();
}

}  // namespace moewe
