#include "comm/waiter.hpp"

#include <algorithm>
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

bool Waiter::is_over(LastingWait& wait, const WaitReason& reason, Clock::time_point now) const {
  if (now - wait.since() >= timeout_) return true;
  if (wait.watch() == nullptr) return false;
  wait.wait_for(reason.peer, now);
  return wait.watch()->is_over(now);
}

bool Waiter::yield_or_throw(LastingWait& wait, const WaitReason& reason) const {
  if (abort_ != nullptr && abort_->load(std::memory_order_acquire)) {
    throw Error(ErrorKind::peer_failed, "another rank failed");
  }
  const Clock::time_point now = Clock::now();
  if (is_over(wait, reason, now)) {
    const std::string missing = reason.missing ? reason.missing() : "";
    if (wait.watch() != nullptr) wait.watch()->report(missing);
    const std::chrono::duration<double> waited = std::min(timeout_, now - wait.since());
    const std::string from = reason.peer ? fmt::format(" from rank {}", number(*reason.peer)) : "";
    throw Error(ErrorKind::timeout, fmt::format("waited {:.3g} s for {}{}{}{}", waited.count(), reason.what,
                                                from, missing.empty() ? "" : "; ", missing));
  }
  constexpr std::chrono::microseconds longest_in_vain{1};  // of a yield that nobody takes up
  sched_yield();
  const bool is_alone = Clock::now() - now < longest_in_vain;
  if (!is_polling_) return is_alone;
  for (const auto& poll : shared_->polls) poll();
  return is_alone;
}

}  // namespace moewe
