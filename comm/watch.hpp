#pragma once

#include <chrono>
#include <string>

#include "comm/rank_status.hpp"
#include "comm/wait_tally.hpp"

namespace moewe {

/// Watches over the waits of one rank, for a program that wants to tell who holds up whom. All is called on
/// the thread of that rank, while it waits.
class Watch {
 public:
  virtual ~Watch() = default;

  /// Kept up to date by the waits themselves, and by whoever knows steps and phases.
  virtual RankStatus& status() = 0;

  /// For whom the rank has waited; the waits themselves add to it.
  virtual WaitTally& tally() = 0;

  /// Called at every poll of a wait that lasts; must not block. True: the deadline of another rank has
  /// passed, and this wait ends as if its own had.
  virtual bool is_over(std::chrono::steady_clock::time_point now) = 0;

  /// A deadline has passed, and the status still says for what; `missing` names the parts of it that have not
  /// come, if it is known. May end the process; once it returns, the wait throws Error(timeout).
  virtual void report(const std::string& missing) = 0;
};

}  // namespace moewe
