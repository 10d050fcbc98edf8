#include "launch/rebalancing.hpp"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <utility>

#include "comm/log.hpp"
#include "placement/plan.hpp"
#include "placement/stages.hpp"

namespace moewe {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t room_for_arrivals = 1;  // staging slots of a rank
constexpr std::size_t most_lines = 1000;
constexpr std::size_t most_given_up = 3;  // epochs of a layer

RebalanceOptions rebalance_options(const RebalanceRequest& request, const RunLayer& layer,
                                   const CostCoefficients* costs) {
  RebalanceOptions options;
  options.mode = request.mode;
  options.every = request.every;
  options.expert_bytes = expert_bytes(layer.spec(), layer.dtype());
  if (costs != nullptr) options.costs = *costs;
  return options;
}

/// The first few ranks that are not like most.
std::string describe_slowness(const std::vector<Millionths>& slowness) {
  constexpr std::size_t most_ranks = 8;
  std::vector<std::string> ranks;
  for (std::size_t rank = 0; rank < slowness.size(); ++rank) {
    if (slowness[rank] != 1'000'000)
      ranks.push_back(fmt::format("rank {} {:.2f}", rank, static_cast<double>(slowness[rank]) / 1e6));
  }
  if (ranks.empty()) return "ranks compute equally fast";
  const std::size_t more = ranks.size() - std::min(ranks.size(), most_ranks);
  ranks.resize(ranks.size() - more);
  return fmt::format("ranks take, over what most take for the same: {}{}", fmt::join(ranks, ", "),
                     more > 0 ? fmt::format(", and {} more that differ", more) : "");
}

bool goes_between_nodes(const MigrationPlan& plan, const Topology& topology) {
  return std::any_of(plan.moves.begin(), plan.moves.end(),
                     [&](const Move& move) { return !topology.share_node(move.from, move.to); });
}

}  // namespace

std::size_t expert_bytes(const LayerSpec& spec, Dtype dtype) {
  const std::size_t matrices = spec.expert.gated ? 3 : 2;
  return matrices * spec.expert.hidden * spec.expert.intermediate * bytes_of(dtype);
}

Rebalancing::Rebalancing(Communicator& communicator, const RebalanceRequest& request,
                         const MigrationBudget& budget, std::span<RunLayer> layers,
                         std::vector<std::size_t> numbers, const CostCoefficients* costs)
    : communicator_(communicator),
      layers_(layers),
      numbers_(std::move(numbers)),
      topology_(communicator.topology()),
      request_(request),
      budget_(budget),
      num_given_up_(layers.size(), 0),
      meter_(layers.front().spec()),
      slowness_(communicator.size()),
      costs_({RebalanceOptions{}.interference, 0}),
      is_told_(communicator.rank() == Rank{0}) {
  for (std::size_t i = 0; i < layers.size(); ++i) {
    rebalancers_.emplace_back(numbers_[i], communicator.topology(), layers[i].spec().num_experts,
                              rebalance_options(request, layers[i], costs));
    plans_.push_back(layers[i].placement());
  }
}

/// In one step of all layers: the budget is one of each step of any layer, and each stage brings one expert
/// to a rank in three steps at best.
std::uint64_t Rebalancing::bytes_per_step(const RunLayer& layer) const {
  constexpr std::size_t steps_of_stage = 3;
  const std::size_t at_best = expert_bytes(layer.spec(), layer.dtype()) / steps_of_stage;
  return std::max<std::size_t>(1, std::min(budget_.bytes() * layers_.size(), at_best));
}

double Rebalancing::step_done(std::uint64_t step, std::span<const std::vector<std::int64_t>> loads) {
  const Clock::time_point begun = Clock::now();
  measure(step);
  has_begun_stage_ = false;
  if (way_) follow();
  std::vector<RebalanceDecision> decisions;
  std::vector<std::size_t> deciding;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    rebalancers_[i].expect_bytes_per_step(bytes_per_step(layers_[i]));
    RebalanceDecision decision = rebalancers_[i].observe(step, loads[i], plans_[i]);
    if (!decision.note.empty()) tell(i, std::exchange(decision.note, ""));
    if (!decision.is_move()) continue;
    if (num_given_up_[i] >= most_given_up) {
      rebalancers_[i].cancel();
      continue;
    }
    decisions.push_back(std::move(decision));
    deciding.push_back(i);
  }
  if (!decisions.empty()) begin(std::move(decisions), deciding);
  const double seconds = std::chrono::duration<double>(Clock::now() - begun).count();
  seconds_ += seconds;
  if (has_begun_stage_) way_->seconds += seconds;
  return seconds;
}

void Rebalancing::finish() {
  if (!way_) return;
  RunLayer& layer = layers_[way_->i];
  while (is_under_way(layer.migration().state)) layer.run_empty_step();
}

void Rebalancing::follow() {
  const RunLayer& layer = layers_[way_->i];
  const MigrationReport& report = layer.migration();
  if (report.state == MigrationState::cancelled) {
    if (++num_given_up_[way_->i] == most_given_up) {
      warn(fmt::format("layer {}: experts no longer move, since {} epochs were given up", numbers_[way_->i],
                       most_given_up));
    }
    note(fmt::format("layer {}: the way to epoch {} was given up: {}", numbers_[way_->i], report.to_epoch,
                     report.reason));
    rebalancers_[way_->i].cancel();
    plans_[way_->i] = layer.placement();  // some stages may have been reached
    way_.reset();
  } else if (report.state == MigrationState::switched) {
    if (count_arrivals(layer.placement(), way_->plan) > 0) return begin_stage();
    plans_[way_->i] = way_->plan;
    meter_.plan_done(way_->seconds);
    way_.reset();
  }
}

void Rebalancing::begin(std::vector<RebalanceDecision> decisions, std::span<const std::size_t> deciding) {
  const std::size_t chosen = way_ ? decisions.size() : choose_layers(decisions, 0).front();
  for (std::size_t i = 0; i < decisions.size(); ++i) {
    if (i != chosen) rebalancers_[deciding[i]].cancel();
  }
  if (way_) return;
  note(to_text(decisions[chosen]));
  way_.emplace(Way{deciding[chosen], std::move(decisions[chosen].plan).value()});
  begin_stage();
}

void Rebalancing::begin_stage() {
  has_begun_stage_ = true;
  RunLayer& layer = layers_[way_->i];
  Placement next = next_stage(layer.placement(), way_->plan, room_for_arrivals);
  const bool is_between_nodes =
      goes_between_nodes(plan_migration(layer.placement(), next, topology_), topology_);
  layer.migrate(std::move(next), budget_.bytes(is_between_nodes));
}

/// Once in each step; collective at the end of a window, where anything is measured.
void Rebalancing::measure(std::uint64_t step) {
  if (!request_.measures_speeds && !request_.measures_costs) return;
  meter_.step_done({seconds_of_sending(), way_.has_value()});
  if (!meter_.is_window_over()) return;
  const auto of_ranks = all_gather_values(communicator_, meter_.take_window());
  if (request_.measures_speeds) learn_speeds(step, of_ranks);
  if (request_.measures_costs) learn_costs(of_ranks);
}

double Rebalancing::seconds_of_sending() const {
  double seconds = 0;
  for (const RunLayer& layer : layers_) seconds += layer.migration().seconds;
  return seconds;
}

void Rebalancing::learn_speeds(std::uint64_t step, std::span<const WindowMeasures> of_ranks) {
  std::vector<std::int64_t> times;
  for (const WindowMeasures& of_rank : of_ranks) times.push_back(of_rank.work);
  if (!slowness_.add_window(times)) return;
  for (Rebalancer& rebalancer : rebalancers_) rebalancer.set_slowness(slowness_.slowness());
  note(fmt::format("step {}: {}", step, describe_slowness(slowness_.slowness())));
}

void Rebalancing::learn_costs(std::span<const WindowMeasures> of_ranks) {
  std::vector<StepMeasures> measures;
  for (const WindowMeasures& of_rank : of_ranks) measures.push_back(of_rank.steps);
  costs_.add_window(measures);
  for (Rebalancer& rebalancer : rebalancers_) rebalancer.set_move_costs(costs_.costs());
}

/// Of one layer: what a move has gained, or why there are no more.
void Rebalancing::tell(std::size_t i, const std::string& line) {
  const bool is_last = rebalancers_[i].disabled_because() == line;
  note(is_last ? line : fmt::format("layer {}: {}", numbers_[i], line));
  if (is_last) warn(line);
}

void Rebalancing::warn(const std::string& line) const {
  if (is_told_) log(LogLevel::warning, line);
}

void Rebalancing::note(const std::string& line) {
  if (log_.size() < most_lines) log_.push_back(line);
}

RebalanceTotals Rebalancing::totals() const {
  RebalanceTotals totals;
  for (const RunLayer& layer : layers_) {
    const MigrationReport& report = layer.migration();
    totals.epochs += report.num_switched;
    totals.moves += report.switched_moves;
    totals.bytes += report.switched_bytes;
    totals.cancelled += report.num_cancelled;
  }
  totals.budget_bytes = budget_.bytes();
  totals.budget_reason = budget_.reason();
  totals.stall_s = seconds_;
  totals.slowness = rebalancers_.front().slowness();
  totals.costs = costs_.costs();
  totals.log = log_;
  return totals;
}

}  // namespace moewe
