#include "comm/waiter.hpp"

#include <fmt/format.h>
#include <sched.h>
#include <string>

#include "comm/error.hpp"

namespace moewe {

void Waiter::pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

bool Waiter::yield_or_throw(Clock::time_point deadline, const WaitReason& reason) const {
  if (abort_ != nullptr && abort_->load(std::memory_order_acquire)) {
    throw Error(ErrorKind::peer_failed, "another rank failed");
  }
  const Clock::time_point now = Clock::now();
  if (now >= deadline) {
    const std::string from = reason.peer ? fmt::format(" from rank {}", number(*reason.peer)) : "";
    throw Error(ErrorKind::timeout,
                fmt::format("waited {:.3g} s for {}{}", std::chrono::duration<double>(timeout_).count(),
                            reason.what, from));
  }
  constexpr std::chrono::microseconds longest_in_vain{1};  // of a yield that nobody takes up
  sched_yield();
  const bool is_alone = Clock::now() - now < longest_in_vain;
  for (const auto& poll : *polls_) poll();
  return is_alone;
}

}  // namespace moewe
