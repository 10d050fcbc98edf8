#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "comm/wait_tally.hpp"
#include "runtime/step_report.hpp"

namespace moewe {

/// How long one rank has waited for another in one phase, in seconds, over all steps.
struct RankWait {
  std::int32_t rank = 0;
  std::int32_t peer = -1;  ///< -1: for all others alike
  Phase phase = Phase::route;
  Awaited awaited = Awaited::arrival;
  double seconds = 0;
};

/// Why others wait for a rank.
enum class SlowKind {
  computes_longer,
  messages_come_late,
  takes_messages_late,
};

const char* name_of(SlowKind kind);

/// The rank that holds up the others more than they hold up it.
struct SlowRank {
  std::size_t rank = 0;
  double seconds = 0;  ///< that each of the others waits for it on average, in all steps
  double share = 0;    ///< the same, of the time of all steps
  Phase phase = Phase::route;
  SlowKind kind = SlowKind::computes_longer;
};

/// Of one rank, over all steps.
using PhaseSeconds = std::array<double, num_phases>;

/// Waits of `rank` within steps that took `step_seconds` in all, but for those below a thousandth of that, so
/// that there are no more than a thousand.
std::vector<RankWait> waits_in_steps(const WaitTally& tally, Rank rank, double step_seconds);

/// Collective. Those of all ranks, on rank 0, the longest first.
std::vector<RankWait> gather_waits(Communicator& communicator, const std::vector<RankWait>& mine);

/// The one that keeps each of the others waiting for more than a twentieth of their steps, what it waits for
/// itself taken off: who only passes a wait on is not to blame. `phases` has every rank's time in each phase,
/// in rank order.
std::optional<SlowRank> find_slow_rank(std::span<const RankWait> waits, std::span<const PhaseSeconds> phases,
                                       double step_seconds);

/// "rank 2 made others wait 3.1 ms per step (24 % of the step) in combine: computes longer"
std::string describe(const SlowRank& slow, std::size_t num_steps);

}  // namespace moewe
