#pragma once

namespace moewe {

// SIGTERM, where ending after the step under way saves that step. Of the process; thread-ranks share it.

/// As long as one lives, SIGTERM does not end the process at once, but asks its ranks to end together after
/// the step under way. They have less than the time after which the launcher ends them for good: when a rank
/// is lost mpirun sends the others SIGTERM too, and these may be in a step that never ends.
class PutsOffEnd {
 public:
  PutsOffEnd();
  ~PutsOffEnd();
  PutsOffEnd(const PutsOffEnd&) = delete;
  PutsOffEnd& operator=(const PutsOffEnd&) = delete;

  /// Whether this process has been asked; others may have been, or not.
  static bool is_asked_for() noexcept;

  /// All ranks have ended together.
  static void note_ended() noexcept;
};

/// For the handler of SIGTERM: whether the end is put off. When the time has passed there is a SIGALRM, and a
/// second SIGTERM is not put off. Async-signal-safe.
bool put_off_end() noexcept;

/// Whether note_ended() was called.
bool has_ended_gracefully() noexcept;

/// Seconds from SIGTERM on. `kill_timeout` is Open MPI's odls_base_sigkill_timeout as text, or null.
double seconds_of_grace(bool is_under_mpirun, const char* kill_timeout);

}  // namespace moewe
