#include "launch/graceful_end.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <sys/time.h>

#include "launch/parse_number.hpp"

namespace moewe {
namespace {

// What a signal's handler can read at any time.
constinit std::atomic<int> num_putting_off{0};
constinit std::atomic<bool> is_asked{false};
constinit std::atomic<bool> has_ended{false};
constinit std::atomic<long> grace_us{0};
static_assert(std::atomic<long>::is_always_lock_free);

}  // namespace

double seconds_of_grace(bool is_under_mpirun, const char* kill_timeout) {
  constexpr double without_mpirun = 5;  // Slurm and containers wait longer before they kill
  constexpr double default_timeout = 1;
  constexpr double to_leave = 0.5;
  constexpr double least = 0.1, most = 3600;
  if (!is_under_mpirun) return without_mpirun;
  const auto timeout = parse_number(kill_timeout == nullptr ? "" : kill_timeout);
  const double seconds = timeout ? static_cast<double>(*timeout) : default_timeout;
  return std::clamp(seconds - to_leave, least, most);
}

PutsOffEnd::PutsOffEnd() {
  constexpr double microseconds = 1e6;
  const double seconds = seconds_of_grace(std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr,
                                          std::getenv("OMPI_MCA_odls_base_sigkill_timeout"));
  grace_us.store(static_cast<long>(seconds * microseconds));
  num_putting_off.fetch_add(1);
}

/// Once all ranks end together, a signal that comes late is not to disturb that.
PutsOffEnd::~PutsOffEnd() {
  if (!has_ended.load()) num_putting_off.fetch_sub(1);
}

bool PutsOffEnd::is_asked_for() noexcept { return is_asked.load(); }

void PutsOffEnd::note_ended() noexcept { has_ended.store(true); }

bool put_off_end() noexcept {
  if (num_putting_off.load() == 0 || is_asked.exchange(true)) return false;
  constexpr long per_second = 1'000'000;
  itimerval timer{};
  timer.it_value.tv_sec = grace_us.load() / per_second;
  timer.it_value.tv_usec = grace_us.load() % per_second;
  return setitimer(ITIMER_REAL, &timer, nullptr) == 0;  // a mere system call
}

bool has_ended_gracefully() noexcept { return has_ended.load(); }

}  // namespace moewe
