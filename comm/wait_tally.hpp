#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "comm/rank.hpp"

namespace moewe {

/// What a wait is for of the rank that is waited for.
enum class Awaited {
  arrival,  ///< something that it sends, or itself
  taking,   ///< that it takes what was sent to it
};

/// How long one rank has waited for which others, apart by phase: sums over all waits that outlasted their
/// spins, which the waits themselves add to. Of one thread.
class WaitTally {
 public:
  using Duration = std::chrono::steady_clock::duration;

  /// Sums of one phase.
  struct PhaseSums {
    std::string_view phase;
    std::vector<Duration> arrival;  ///< by rank, and behind them that for all alike
    std::vector<Duration> taking;
  };

  explicit WaitTally(std::size_t num_ranks) : num_ranks_(num_ranks) {}

  /// From now on waits count for this phase. A text that stays; texts are told apart by what they say.
  void enter(std::string_view phase) { phase_ = phase; }

  void add(std::optional<Rank> peer, Awaited awaited, Duration duration) {
    PhaseSums& phase = sums_of(phase_);
    std::vector<Duration>& sums = awaited == Awaited::taking ? phase.taking : phase.arrival;
    sums[peer ? index(*peer) : num_ranks_] += duration;
  }

  /// Forgets all sums.
  void clear() { phases_.clear(); }

  const std::vector<PhaseSums>& phases() const { return phases_; }

 private:
  PhaseSums& sums_of(std::string_view phase) {
    for (PhaseSums& sums : phases_) {
      if (sums.phase == phase) return sums;
    }
    const std::vector<Duration> none(num_ranks_ + 1, Duration::zero());
    return phases_.emplace_back(PhaseSums{phase, none, none});
  }

  std::size_t num_ranks_;
  std::vector<PhaseSums> phases_;
  std::string_view phase_;
};

}  // namespace moewe
