#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "comm/rank_status.hpp"
#include "comm/wait_tally.hpp"
#include "runtime/overflow.hpp"

namespace moewe {

/// The six calls of a step.
enum class Phase { route, agree, plan, dispatch, experts, combine };

inline constexpr std::size_t num_phases = 6;
inline constexpr std::array<const char*, num_phases> phase_names{"route",    "agree",   "plan",
                                                                 "dispatch", "experts", "combine"};

constexpr const char* name_of(Phase phase) { return phase_names[static_cast<std::size_t>(phase)]; }

/// Where a rank is, for messages about what went wrong. Steps count from 1; 0 is before the first.
struct StepPosition {
  std::uint64_t step = 0;
  std::size_t layer = 0;
  Phase phase = Phase::route;
  RankStatus* shown = nullptr;  ///< where others see it; null for nowhere
  WaitTally* tally = nullptr;   ///< of waits in each phase; null for none

  void enter(std::uint64_t next_step, std::size_t next_layer) {
    step = next_step;
    layer = next_layer;
    if (shown != nullptr) shown->enter_engine_step(step, layer);
  }

  void enter(Phase next, RankStatus::Clock::time_point now) {
    phase = next;
    if (shown != nullptr) shown->enter_phase(name_of(next), now);
    if (tally != nullptr) tally->enter(name_of(next));
  }
};

/// What one step of one layer did on this rank.
struct StepReport {
  /// Time in each phase; waiting for rows counts as dispatch, waiting for outputs as combine.
  std::array<double, num_phases> seconds{};
  std::vector<std::int64_t> assignments_per_expert;  ///< over all ranks, as routed
  std::vector<std::int64_t> own_per_expert;          ///< of this rank's tokens, as routed
  std::vector<std::int64_t> assignments_per_rank;    ///< that it computes; of all ranks, the same on each
  std::vector<std::int64_t> computed_per_slot;       ///< on this rank
  std::uint64_t epoch = 0;                           ///< of the placement
  bool is_split_as_stored = false;                   ///< by an earlier step's split
  std::optional<OverflowReport> overflow;            ///< where the capacity is bounded
  std::size_t num_rounds = 0;                        ///< 0 where no rank had a token, on cores
  bool are_matmuls_grouped = false;  ///< those of this rank's experts, by a library for devices

  /// Of assignments_per_expert those that were not dropped.
  std::span<const std::int64_t> kept_per_expert() const {
    return overflow ? overflow->kept : assignments_per_expert;
  }

  /// Sums, of a step whose tokens were two steps of the same layer; of rounds the most. Where a migration
  /// ended between the two, the slots of the other epoch come behind those of this one.
  void add(const StepReport& other);
};

/// Charges the time between two marks to the phase that the first began.
class PhaseClock {
 public:
  using Clock = std::chrono::steady_clock;

  PhaseClock(StepReport& report, StepPosition& position, Phase first) : report_(report), position_(position) {
    position_.enter(first, since_);
  }
  ~PhaseClock() { charge(); }
  PhaseClock(const PhaseClock&) = delete;
  PhaseClock& operator=(const PhaseClock&) = delete;

  void begin(Phase phase) {
    if (phase == position_.phase) return;
    charge();
    position_.enter(phase, since_);
  }

 private:
  void charge() {
    const Clock::time_point now = Clock::now();
    report_.seconds[static_cast<std::size_t>(position_.phase)] +=
        std::chrono::duration<double>(now - since_).count();
    since_ = now;
  }

  StepReport& report_;
  StepPosition& position_;
  Clock::time_point since_ = Clock::now();
};

}  // namespace moewe
