#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "comm/topology.hpp"
#include "placement/load_pattern.hpp"
#include "placement/move_costs.hpp"
#include "placement/rebalance_decision.hpp"
#include "placement/speeds.hpp"
#include "placement/time_cost.hpp"

namespace moewe {

enum class RebalanceMode : std::uint8_t {
  off,
  automatic,  ///< where it is worth it
  every       ///< at fixed steps, whatever it costs, as long as anything is gained
};

struct RebalanceOptions {
  RebalanceMode mode = RebalanceMode::automatic;
  std::uint64_t every = 0;           ///< steps between plans, in that mode
  Millionths enter = 1'100'000;      ///< imbalance at which plans begin
  Millionths stop = 1'030'000;       ///< and at which they end
  Millionths margin = 100'000;       ///< of what a move costs, that it must save besides
  std::uint64_t dwell_steps = 32;    ///< that a placement is in use at least
  std::uint64_t expert_bytes = 0;    ///< weights of one expert
  std::uint64_t bytes_per_step = 0;  ///< that a rank receives at most; 0: all at once
  Millionths interference = 50'000;  ///< how much longer a step takes while experts travel
  std::int64_t switch_cost = 0;      ///< of planning and switching, in the unit of costs
  std::size_t most_misses = 3;       ///< that disable it, in automatic mode
  bool is_measured = false;          ///< the caller tells what was gained: note_achieved()
  PatternOptions pattern;
  /// For costs in time; without them the largest rank load is what counts.
  std::optional<CostCoefficients> costs;
};

/// Decides in each step whether one layer's experts stay or move. A value: no clocks, no communication, and
/// the same decisions on every rank that is told the same (RebalanceDecision::digest, to compare).
///
/// Experts move where imbalance is above `enter`, and then on until it is at most `stop`; where loads are
/// uneven by more than chance; where the placement has been in use for `dwell_steps`; where a plan saves more
/// than experts would that only deviate by chance; and where
///
///   saving per step x (steps that the pattern is expected to last - steps that the move takes)
///     > (1 + margin) x (steps that the move takes x interference x cost of a step + switch_cost),
///
/// where set_move_costs() may tell the latter two as they are measured.
///
/// Where ranks are not equally fast, as set_slowness() tells, loads stand for times: of the slowest rank,
/// beside the least that is possible. Plans then give slow ranks less, and have the slowness that they were
/// made for (Placement::slowness), which steps' splits follow; a plan may bring nothing but another slowness.
/// A slowness, too, is expected to last for as long as it has.
///
/// A pattern that has just begun is expected to end soon, one that has lasted to last: see LoadPattern.
class Rebalancer {
 public:
  /// Throws InvalidInput for options out of range.
  Rebalancer(std::size_t layer, Topology topology, std::size_t num_experts, RebalanceOptions options);

  /// Once in every step, in ascending order, with the assignments of all ranks per expert and the placement
  /// that served them. Where it returns a move, the caller brings the experts and then passes the plan as
  /// `current`, or calls cancel(). Throws InvalidInput where counts or placement are of another shape.
  RebalanceDecision observe(std::uint64_t step, std::span<const std::int64_t> counts,
                            const Placement& current);

  /// From now on, [num_ranks] as Placement has it, or empty. The same on every rank. Throws InvalidInput.
  void set_slowness(std::vector<Millionths> slowness);
  const std::vector<Millionths>& slowness() const { return slowness_; }

  /// From now on in the place of RebalanceOptions::interference, and beside its switch_cost. The same on
  /// every rank. Throws InvalidInput for costs out of range.
  void set_move_costs(const MoveCosts& costs);

  /// In the place of the option, for plans from now on.
  void expect_bytes_per_step(std::uint64_t bytes) { options_.bytes_per_step = bytes; }

  /// The latest plan is not carried out, or no longer.
  void cancel() { pending_.reset(); }

  /// What a step has cost less, in the mean, since the latest move, than it would have without: below half of
  /// what was predicted it is a miss, else one miss is forgiven. Called by observe() itself after
  /// dwell_steps, with what the two placements cost for the counts that came, unless options say that the
  /// caller measures it: then the same number on every rank. Nothing happens where no move waits for it.
  void note_achieved(std::int64_t saving_per_step);

  /// A sentence, once too many moves were misses. From then on nothing moves.
  const std::optional<std::string>& disabled_because() const { return disabled_because_; }

  std::size_t misses() const { return misses_; }
  const LoadPattern& pattern() const { return pattern_; }

 private:
  /// A plan that was handed out, and later a move whose gain is awaited.
  struct Move {
    Placement from;
    std::uint64_t epoch;  ///< of the plan
    std::uint64_t step;   ///< in which it was made
    std::int64_t predicted;
    std::int64_t achieved = 0;          ///< in all steps that were judged
    std::uint64_t num_steps = 0;        ///< of these
    std::vector<std::int64_t> loads{};  ///< of steps that are not judged yet
    std::int64_t num_waiting = 0;
  };
  /// Steps that are judged together: their sum of loads.
  struct Steps {
    std::span<const std::int64_t> loads;
    std::int64_t count;
  };

  void check(std::span<const std::int64_t> counts, const Placement& current) const;
  Millionths imbalance_of(std::int64_t time, std::int64_t total) const;
  void follow(std::uint64_t step, const Placement& current);
  void watch_gain(std::span<const std::int64_t> counts, const Placement& current);
  RebalanceReason reason_to_wait(std::uint64_t step, const Placement& current, Millionths& imbalance);
  void plan(const Placement& current, RebalanceDecision& decision) const;
  RebalanceDecision forecast(const Placement& current, std::int64_t cost_now, Placement plan,
                             const RebalanceDecision& so_far) const;
  std::int64_t cost_of(const Placement& placement, const Steps& steps) const;
  bool may_gain_by_chance(const RebalanceDecision& decision, std::int64_t cost_now) const;
  bool is_worth_it(const RebalanceDecision& decision) const;

  std::size_t layer_;
  Topology topology_;
  RebalanceOptions options_;
  LoadPattern pattern_;
  std::vector<Millionths> slowness_;
  RankSpeeds speeds_;
  std::optional<std::uint64_t> slowness_age_;  // steps since it was told; none where it stays
  Millionths switching_ = 0;                   // of what a step costs
  std::uint64_t dwell_until_ = 0;
  std::uint64_t not_before_ = 0;  // step of the next plan
  bool is_entered_ = false;
  std::optional<Move> pending_;  // on its way
  std::optional<Move> watched_;  // in use
  std::size_t misses_ = 0;
  std::string note_;
  std::optional<std::string> disabled_because_;
};

}  // namespace moewe
