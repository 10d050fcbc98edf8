#include "launch/rebalancing.hpp"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <utility>

#include "placement/plan.hpp"
#include "placement/stages.hpp"

namespace moewe {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t room_for_arrivals = 1;  // staging slots of a rank
constexpr std::size_t most_lines = 1000;

MigrationOptions migration_options(const RebalanceRequest& request) {
  MigrationOptions options;
  if (request.budget_bytes > 0) options.bytes_per_step = request.budget_bytes;
  return options;
}

RebalanceOptions rebalance_options(const RebalanceRequest& request, const MoeLayer& layer) {
  RebalanceOptions options;
  options.mode = request.mode;
  options.every = request.every;
  options.expert_bytes = expert_bytes(layer.spec(), layer.options().dtype);
  options.bytes_per_step = migration_options(request).bytes_per_step;
  return options;
}

}  // namespace

std::size_t expert_bytes(const LayerSpec& spec, Dtype dtype) {
  const std::size_t matrices = spec.expert.gated ? 3 : 2;
  return matrices * spec.expert.hidden * spec.expert.intermediate * bytes_of(dtype);
}

Rebalancing::Rebalancing(const Topology& topology, const RebalanceRequest& request,
                         std::span<const std::unique_ptr<MoeLayer>> layers, std::vector<std::size_t> numbers)
    : layers_(layers), numbers_(std::move(numbers)), request_(request) {
  for (std::size_t i = 0; i < layers.size(); ++i) {
    rebalancers_.emplace_back(numbers_[i], topology, layers[i]->spec().num_experts,
                              rebalance_options(request, *layers[i]));
    plans_.push_back(layers[i]->placement());
  }
}

double Rebalancing::step_done(std::uint64_t step, std::span<const std::vector<std::int64_t>> loads) {
  const Clock::time_point begun = Clock::now();
  if (way_) follow();
  std::vector<RebalanceDecision> decisions;
  std::vector<std::size_t> deciding;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    RebalanceDecision decision = rebalancers_[i].observe(step, loads[i], plans_[i]);
    if (!decision.note.empty()) note(decision.note);
    if (!decision.is_move()) continue;
    decisions.push_back(std::move(decision));
    deciding.push_back(i);
  }
  if (!decisions.empty()) begin(std::move(decisions), deciding);
  const double seconds = std::chrono::duration<double>(Clock::now() - begun).count();
  seconds_ += seconds;
  return seconds;
}

void Rebalancing::follow() {
  const MoeLayer& layer = *layers_[way_->i];
  const MigrationReport& report = layer.migration();
  if (report.state == MigrationState::cancelled) {
    note(fmt::format("layer {}: the way to epoch {} was given up: {}", numbers_[way_->i], report.to_epoch,
                     report.reason));
    rebalancers_[way_->i].cancel();
    plans_[way_->i] = layer.placement();  // some stages may have been reached
    way_.reset();
  } else if (report.state == MigrationState::switched) {
    if (count_arrivals(layer.placement(), way_->plan) > 0) return begin_stage();
    plans_[way_->i] = way_->plan;
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
  MoeLayer& layer = *layers_[way_->i];
  layer.migrate(next_stage(layer.placement(), way_->plan, room_for_arrivals), migration_options(request_));
}

void Rebalancing::note(const std::string& line) {
  if (log_.size() < most_lines) log_.push_back(line);
}

RebalanceTotals Rebalancing::totals() const {
  RebalanceTotals totals;
  for (const auto& layer : layers_) {
    const MigrationReport& report = layer->migration();
    totals.epochs += report.num_switched;
    totals.moves += report.switched_moves;
    totals.bytes += report.switched_bytes;
    totals.cancelled += report.num_cancelled;
  }
  totals.stall_s = seconds_;
  totals.log = log_;
  return totals;
}

}  // namespace moewe
