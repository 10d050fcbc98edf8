#include "placement/rebalance.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <functional>
#include <numeric>
#include <utility>

#include "comm/error.hpp"
#include "placement/loads.hpp"
#include "placement/placed_split.hpp"
#include "placement/rebalance_plans.hpp"
#include "placement/speed_split.hpp"
#include "placement/wide.hpp"

namespace moewe {
namespace {

constexpr Millionths one = 1'000'000;
constexpr std::int64_t parts_of_assignment = 1000;
constexpr std::uint64_t most_steps = std::uint64_t{1} << 30U;
constexpr std::uint64_t most_expert_bytes = std::uint64_t{1} << 40U;

std::int64_t sum_of(std::span<const std::int64_t> loads) {
  return std::accumulate(loads.begin(), loads.end(), std::int64_t{0});
}

/// Whether the most loaded rank may be above the mean by chance: four standard deviations of as many draws.
bool may_be_chance(std::int64_t largest, std::int64_t mean) {
  return largest - mean < 4 * square_root(wide(mean));
}

void require(bool condition, const char* what) {
  if (!condition) throw InvalidInput(fmt::format("rebalance: {}", what));
}

void check_options(const RebalanceOptions& options, std::size_t num_ranks) {
  constexpr Millionths most = 1000 * one;
  require(options.mode != RebalanceMode::every || options.every > 0, "plans must be a step apart at least");
  require(options.stop >= one && options.stop <= options.enter && options.enter <= most,
          "1 <= stop <= enter must hold");
  require(options.margin >= 0 && options.margin <= most && options.interference >= 0 &&
              options.interference <= most && options.switch_cost >= 0 && options.switch_cost <= max_time,
          "margin, interference and switch_cost must not be negative, or excessive");
  require(options.expert_bytes <= most_expert_bytes, "an expert's bytes must be at most 2^40");
  require(options.dwell_steps > 0 && options.most_misses > 0,
          "dwell_steps and most_misses must be 1 or more");
  if (options.costs) check_coefficients(*options.costs, num_ranks);
}

std::uint64_t steps_of_move(std::size_t arrivals, const RebalanceOptions& options) {
  if (arrivals == 0) return 0;
  if (options.bytes_per_step == 0) return 1;
  const std::uint64_t bytes = arrivals * options.expert_bytes;
  return std::max<std::uint64_t>(1, (bytes + options.bytes_per_step - 1) / options.bytes_per_step);
}

/// Steps in which a move pays, cut off where products would not fit.
std::uint64_t steps_of_gain(const RebalanceDecision& decision) {
  const std::uint64_t steps = decision.expected_life - std::min(decision.expected_life, decision.move_steps);
  return std::min(steps, most_steps);
}

/// What a move saves in all, less what it costs.
std::int64_t net_gain(const RebalanceDecision& decision, std::uint64_t steps) {
  const Wide gain = wide(std::max<std::int64_t>(decision.saving, 0)) * steps;
  return static_cast<std::int64_t>(std::min(wide(max_time), gain)) - decision.cost;
}

}  // namespace

Rebalancer::Rebalancer(std::size_t layer, Topology topology, std::size_t num_experts,
                       RebalanceOptions options)
    : layer_(layer),
      topology_(std::move(topology)),
      options_(std::move(options)),
      pattern_(num_experts, options_.pattern),
      speeds_({}, topology_.num_ranks()) {
  check_options(options_, topology_.num_ranks());
  if (options_.costs) set_slowness(options_.costs->slowness);
  slowness_age_.reset();
}

void Rebalancer::set_slowness(std::vector<Millionths> slowness) {
  for (const Millionths of_rank : slowness)
    require(of_rank >= least_slowness && of_rank <= most_slowness,
            "a slowness must be from 1 / 1000 to 1000");
  speeds_ = RankSpeeds(slowness, topology_.num_ranks());
  if (options_.costs) options_.costs->slowness = slowness;
  if (slowness != slowness_) slowness_age_ = 0;
  slowness_ = std::move(slowness);
}

RebalanceDecision Rebalancer::observe(std::uint64_t step, std::span<const std::int64_t> counts,
                                      const Placement& current) {
  RebalanceDecision decision;
  decision.step = step;
  decision.layer = layer_;
  decision.is_in_time = options_.costs.has_value();
  if (options_.mode == RebalanceMode::off) return decision;
  check(counts, current);
  pattern_.add(counts);
  follow(step, current);
  watch_gain(counts, current);
  decision.expected_life = pattern_.expected_life();
  if (slowness_age_) decision.expected_life = std::min(decision.expected_life, ++*slowness_age_);
  decision.reason = reason_to_wait(step, current, decision.imbalance);
  if (decision.is_move()) plan(current, decision);
  if (decision.is_move()) pending_ = Move{current, decision.plan->epoch(), step, decision.saving};
  if (decision.plan) not_before_ = step + options_.pattern.recent_steps;
  if (!decision.is_move()) decision.plan.reset();
  decision.misses = misses_;
  decision.note = std::exchange(note_, "");
  return decision;
}

void Rebalancer::check(std::span<const std::int64_t> counts, const Placement& current) const {
  if (counts.size() == current.num_experts() && current.num_ranks() == topology_.num_ranks() &&
      current.num_experts() == pattern_.loads().size())
    return;
  throw InvalidInput(fmt::format(
      "rebalance: {} counts and a placement of {} experts on {} ranks, not of {} on {}", counts.size(),
      current.num_experts(), current.num_ranks(), pattern_.loads().size(), topology_.num_ranks()));
}

void Rebalancer::set_move_costs(const MoveCosts& costs) {
  constexpr Millionths most = 1000 * one;
  require(costs.interference >= 0 && costs.interference <= most && costs.switching >= 0 &&
              costs.switching <= most,
          "move costs must not be negative, or excessive");
  options_.interference = costs.interference;
  switching_ = costs.switching;
}

Millionths Rebalancer::imbalance_of(std::int64_t time, std::int64_t total) const {
  if (total == 0) return one;
  if (!speeds_.are_equal())
    return static_cast<Millionths>(wide(time) * wide(one) / wide(speeds_.mean_time(total)));
  return static_cast<Millionths>(wide(time) * topology_.num_ranks() * wide(one) / wide(total));
}

/// Notices that the plan is in use, or that something else is.
void Rebalancer::follow(std::uint64_t step, const Placement& current) {
  if (watched_ && watched_->epoch != current.epoch()) watched_.reset();
  if (!pending_ || pending_->from.epoch() == current.epoch()) return;
  if (pending_->epoch == current.epoch()) {
    watched_ = std::move(pending_);
    dwell_until_ = step + options_.dwell_steps;
  }
  pending_.reset();
}

/// Step by step; where times are to be predicted, which takes longer, several steps together.
void Rebalancer::watch_gain(std::span<const std::int64_t> counts, const Placement& current) {
  if (!watched_ || options_.is_measured) return;
  Move& move = *watched_;
  move.loads.resize(counts.size(), 0);
  std::transform(counts.begin(), counts.end(), move.loads.begin(), move.loads.begin(), std::plus<>());
  const bool is_last =
      move.num_steps + static_cast<std::uint64_t>(++move.num_waiting) >= options_.dwell_steps;
  const std::size_t together = options_.costs ? options_.pattern.recent_steps : 1;
  if (!is_last && static_cast<std::size_t>(move.num_waiting) < together) return;
  const Steps steps{move.loads, move.num_waiting};
  move.achieved += (cost_of(move.from, steps) - cost_of(current, steps)) * move.num_waiting;
  move.num_steps += static_cast<std::uint64_t>(std::exchange(move.num_waiting, 0));
  std::fill(move.loads.begin(), move.loads.end(), 0);
  if (is_last) note_achieved(move.achieved / static_cast<std::int64_t>(move.num_steps));
}

void Rebalancer::note_achieved(std::int64_t saving_per_step) {
  if (!watched_) return;
  const bool is_miss = saving_per_step < watched_->predicted / 2;
  misses_ = is_miss ? misses_ + 1 : misses_ - std::min<std::size_t>(misses_, 1);
  const char* unit = options_.costs ? "ps" : "thousandths of an assignment";
  note_ = fmt::format("the move planned in step {} saved {} of {} predicted {} per step", watched_->step,
                      saving_per_step, watched_->predicted, unit);
  if (options_.mode == RebalanceMode::automatic && misses_ >= options_.most_misses) {
    disabled_because_ = fmt::format(
        "layer {}: experts no longer move, since {} moves gained less than half of what was "
        "predicted; the latest, planned in step {}, saved {} of {} {} per step",
        layer_, misses_, watched_->step, saving_per_step, watched_->predicted, unit);
    note_ = *disabled_because_;
  }
  watched_.reset();
}

/// `move` where a plan is due.
RebalanceReason Rebalancer::reason_to_wait(std::uint64_t step, const Placement& current,
                                           Millionths& imbalance) {
  const std::int64_t total = sum_of(pattern_.loads());
  const std::int64_t largest = time_as_placed(current, pattern_.loads(), slowness_);
  imbalance = imbalance_of(largest, total);
  if (disabled_because_) return RebalanceReason::disabled;
  if (pending_) return RebalanceReason::moving;
  if (options_.mode == RebalanceMode::every) {
    const bool is_due = step > 0 && step % options_.every == 0 && total > 0;
    return is_due ? RebalanceReason::move : RebalanceReason::between_plans;
  }
  if (pattern_.num_steps() < static_cast<std::int64_t>(options_.pattern.recent_steps))
    return RebalanceReason::too_few_steps;
  if (imbalance <= options_.stop) is_entered_ = false;
  if (!is_entered_ && imbalance < options_.enter) return RebalanceReason::balanced;
  if (may_be_chance(largest, speeds_.mean_time(total))) return RebalanceReason::noise;
  is_entered_ = true;
  if (step < dwell_until_) return RebalanceReason::dwelling;
  return step < not_before_ ? RebalanceReason::between_plans : RebalanceReason::move;
}

void Rebalancer::plan(const Placement& current, RebalanceDecision& decision) const {
  const bool is_automatic = options_.mode == RebalanceMode::automatic;
  RebalanceDecision best = decision;
  std::int64_t most = 0;
  const std::int64_t cost_now = cost_of(current, {pattern_.loads(), pattern_.num_steps()});
  for (Placement& candidate :
       candidate_plans(current, pattern_.loads(), {topology_, slowness_, options_.stop})) {
    RebalanceDecision next = forecast(current, cost_now, std::move(candidate), decision);
    const std::int64_t net = net_gain(next, is_automatic ? steps_of_gain(next) : options_.every);
    if (best.plan && net <= most) continue;
    most = net;
    best = std::move(next);
  }
  best.reason = RebalanceReason::move;
  const bool is_new = best.moves > 0 || best.plan->slowness() != current.slowness();
  if (!is_new || best.saving <= 0) {
    best.reason = RebalanceReason::no_better_plan;
  } else if (is_automatic && may_gain_by_chance(best, cost_now)) {
    best.reason = RebalanceReason::noise;
  } else if (is_automatic && !is_worth_it(best)) {
    best.reason = RebalanceReason::not_worth_it;
  }
  decision = std::move(best);
}

RebalanceDecision Rebalancer::forecast(const Placement& current, std::int64_t cost_now, Placement plan,
                                       const RebalanceDecision& so_far) const {
  const std::vector<std::int64_t>& loads = pattern_.loads();
  const Steps steps{loads, pattern_.num_steps()};
  RebalanceDecision next = so_far;
  next.predicted = imbalance_of(time_as_placed(plan, loads, slowness_), sum_of(loads));
  next.saving = cost_now - cost_of(plan, steps);
  next.moves = count_arrivals(current, plan);
  next.bytes = next.moves * options_.expert_bytes;
  next.move_steps = steps_of_move(most_arrivals(current, plan), options_);
  const Wide exposed =
      wide(cost_now) * std::min(next.move_steps, most_steps) * wide(options_.interference) / wide(one);
  const Wide switching = wide(cost_now) * wide(switching_) / wide(one) + wide(options_.switch_cost);
  next.cost = static_cast<std::int64_t>(std::min(wide(max_time), exposed + switching));
  next.plan = std::move(plan);
  return next;
}

/// Of one step in the mean.
std::int64_t Rebalancer::cost_of(const Placement& placement, const Steps& steps) const {
  if (!options_.costs)
    return time_as_placed(placement, steps.loads, slowness_) * parts_of_assignment / steps.count;
  const std::vector<std::int64_t> mean = scale_shares(steps.loads, sum_of(steps.loads) / steps.count);
  const SourceSplit split =
      split_as_placed(placement, topology_, spread_over_sources(mean, placement.num_ranks()));
  return layer_time(placement, topology_, split, *options_.costs).longest;
}

/// Whoever looks for experts whose loads fit finds some that fit by chance: whether each that moves would
/// only have to deviate by as much as counts do.
bool Rebalancer::may_gain_by_chance(const RebalanceDecision& decision, std::int64_t cost_now) const {
  const std::int64_t total = sum_of(pattern_.loads());
  const std::int64_t of_expert = 2 * square_root(wide(total) / pattern_.loads().size());  // two deviations
  const Wide time = wide(speeds_.mean_time(total)) * wide(decision.imbalance) / wide(one);
  return time * wide(decision.saving) < wide(cost_now) * decision.moves * wide(of_expert);
}

bool Rebalancer::is_worth_it(const RebalanceDecision& decision) const {
  return wide(decision.saving) * steps_of_gain(decision) * wide(one) >
         wide(decision.cost) * wide(one + options_.margin);
}

}  // namespace moewe
