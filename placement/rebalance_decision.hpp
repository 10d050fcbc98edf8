#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "placement/placement.hpp"
#include "placement/plan.hpp"

namespace moewe {

/// Why experts move, or why they stay.
enum class RebalanceReason : std::uint8_t {
  move,            ///< they move
  off,             ///< nobody asked for it
  disabled,        ///< moves did not gain what was predicted
  moving,          ///< an earlier plan is still on its way
  dwelling,        ///< the placement has not been in use for long enough
  between_plans,   ///< it is not the time of a plan
  too_few_steps,   ///< the loads have not been seen for long enough
  noise,           ///< so few assignments may be as uneven by chance
  balanced,        ///< there is too little to gain
  no_better_plan,  ///< none was found
  not_worth_it     ///< it would cost more than it saves
};

/// As it stands in a log.
const char* name_of(RebalanceReason reason);

/// What was decided about one layer in one step, with the figures that it was decided by. All of it is the
/// same on every rank. What was not looked at is 0.
///
/// Costs are in picoseconds where they are known in time, else in thousandths of an assignment of the most
/// loaded rank.
struct RebalanceDecision {
  std::uint64_t step = 0;
  std::size_t layer = 0;
  RebalanceReason reason = RebalanceReason::off;
  bool is_in_time = false;          ///< the unit of costs
  Millionths imbalance = 0;         ///< largest over mean rank load of the present pattern at the best split
  Millionths predicted = 0;         ///< the same after the move
  std::int64_t saving = 0;          ///< cost of a step less that after the move
  std::uint64_t expected_life = 0;  ///< steps that the pattern lasts
  std::int64_t cost = 0;            ///< of the move, in all
  std::size_t moves = 0;            ///< experts that have to arrive
  std::uint64_t bytes = 0;          ///< of these
  std::uint64_t move_steps = 0;     ///< that it takes until the rank with most of them has them
  std::size_t misses = 0;           ///< moves that gained too little, less those that did not
  std::optional<Placement> plan;    ///< where experts move: the next epoch
  std::string note;                 ///< a sentence where something else is to be told, else empty

  bool is_move() const { return reason == RebalanceReason::move; }

  /// Equal for equal decisions, different otherwise but for a chance of 2^-64: for ranks to compare. Without
  /// the note.
  std::uint64_t digest() const;
};

/// A line of a log.
std::string to_text(const RebalanceDecision& decision);

/// Of several layers that want to move, those that may do so together, by the order of `decisions`: the ones
/// with the largest saving per byte, as long as all together bring at most `most_bytes`, the first of equal
/// ones first. One is chosen even where it has more. Those that are not chosen are to be told
/// (Rebalancer::cancel).
std::vector<std::size_t> choose_layers(std::span<const RebalanceDecision> decisions,
                                       std::uint64_t most_bytes);

}  // namespace moewe
