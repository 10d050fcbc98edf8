#include "launch/step_loop.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>
#include <utility>

#include "comm/together.hpp"
#include "launch/console.hpp"
#include "launch/graceful_end.hpp"
#include "launch/kept_notice.hpp"
#include "launch/progress.hpp"
#include "launch/run_identity.hpp"
#include "launch/run_plan.hpp"
#include "launch/run_result.hpp"

namespace moewe {

StepLoop::StepLoop(Engine& engine, const RunInputs& inputs, const RunOptions& options, Device* device,
                   RunPosition& position)
    : engine_(engine),
      inputs_(inputs),
      options_(options),
      position_(position),
      own_tokens_(tokens_of_rank(inputs.tokens().num_tokens(), engine.communicator().size(),
                                 engine.communicator().rank())),
      layers_(engine, inputs, options, device),
      forced_experts_(engine.memory(), forced_routing_name),
      forced_weights_(engine.memory(), forced_routing_name) {
  Communicator& communicator = engine_.communicator();
  std::optional<LatestRecords> records;
  together(communicator, [&] {
    reference_.emplace(inputs_.reference(), inputs_.layers(), spec().expert.hidden, spec().router.top_k);
    const std::size_t num_values = own_tokens_.count * spec().expert.hidden;
    x_ = Buffer(engine_.memory(), tokens_name, num_values * bytes_of(options_.layer.dtype));
    y_ = Buffer(engine_.memory(), results_name, num_values * sizeof(float));
    if (options_.timeline) {
      records.emplace(engine_.memory(),
                      Timeline::room_for(options_.steps, inputs_.layers().size(), communicator.size()));
    }
    if (inputs_.routing() == nullptr) return;
    forced_experts_.resize<ExpertId>(own_tokens_.count * spec().router.top_k);
    forced_weights_.resize<float>(own_tokens_.count * spec().router.top_k);
  });
  if (options_.output) {
    output_.emplace(communicator, *options_.output,
                    OutputFile::Shape{inputs_.layers(), inputs_.tokens().num_tokens(), spec().expert.hidden,
                                      spec().router.top_k});
  }
  if (options_.layer.capacity) totals_.overflow.resize(inputs_.layers().size());
  if (options_.output && (options_.steps > 1 || options_.resume)) {
    keeper_.emplace(
        communicator,
        RunKeeper::Subject{*options_.output, identity_of(inputs_, options_, communicator.topology(), device),
                           shape_of_totals(), options_.steps});
  }
  if (options_.resume) resume();
  learning_.emplace(communicator, inputs_, options_, layers_.all(), before_.num_steps > 0);
  if (options_.timeline) {
    timeline_.emplace(communicator, *options_.timeline, layers_.all(), inputs_.layers(),
                      std::move(records).value());
  }
  layers_.load();
  loads_.resize(layers_.size());
  if (options_.rebalance.is_on()) {
    const std::optional<PathBasis>& basis = engine.path_basis();
    budget_.emplace(communicator.topology(), options_.rebalance.budget_bytes,
                    basis ? basis->messages.between_nodes : std::nullopt);
    rebalancing_.emplace(communicator, options_.rebalance, *budget_, layers_.all(), inputs_.layers(),
                         inputs_.costs());
  }
  learning_->begin();
}

TotalsShape StepLoop::shape_of_totals() const {
  return {inputs_.layers().size(), spec().num_experts, options_.layer.capacity.has_value()};
}

void StepLoop::resume() {
  const auto kept = keeper_->resume();
  if (!kept) return;
  before_ = *kept;
  together(engine_.communicator(), [&] { digest_.restore(before_.digest); });
  totals_.first_imbalance = before_.first_imbalance;
  totals_.overflow = before_.overflow;
  totals_.most_rounds = before_.most_rounds;
}

/// The last step that was kept, once more: whatever has become of weights, input, library or machine since
/// that no header tells shows in its outputs.
void StepLoop::check_resumed() {
  Communicator& communicator = engine_.communicator();
  OutputDigest digest;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    compute_layer(before_.num_steps - 1, i);
    digest.add(communicator, y_.as<float>(own_tokens_.count * spec().expert.hidden), spec().expert.hidden);
  }
  position_.leave_steps();
  together(communicator, [&] {
    if (communicator.rank() != Rank{0}) return;
    if (digest.take_part() != before_.last_step_digest) {
      throw InvalidInput(
          fmt::format("{}: step {} has other results now than when it was kept; --resume needs the same "
                      "model, input and machine",
                      kept_path(*options_.output).string(), before_.num_steps));
    }
    print_text(fmt::format("goes on after step {} of {}, from {}\n", before_.num_steps, options_.steps,
                           kept_path(*options_.output).string()));
  });
}

void StepLoop::keep(std::size_t num_steps) {
  RunTotals totals = before_;
  totals.num_steps = num_steps;
  totals.last_step_digest = digest_.take_part();
  totals.digest = digest_.state();
  totals.first_imbalance = totals_.first_imbalance;
  totals.overflow = totals_.overflow;
  totals.most_rounds = totals_.most_rounds;
  keeper_->keep(std::move(totals), {totals_.assigned, totals_.computed, reference_->own()});
}

void StepLoop::forget_kept() noexcept {
  if (keeper_) keeper_->remove();
}

bool StepLoop::run() {
  if (before_.num_steps > 0) check_resumed();
  if (Watch* watch = engine_.communicator().waiter().watch()) watch->tally().clear();
  const bool is_done = run_steps();
  if (rebalancing_) rebalancing_->finish();
  if (!is_done) return false;
  learning_->finish(options_.steps - 1);
  if (timeline_) timeline_->finish();
  if (output_) output_->commit();
  return true;
}

bool StepLoop::run_steps() {
  std::optional<PutsOffEnd> puts_off_end;  // only where a step can be saved
  if (keeper_) puts_off_end.emplace();
  std::optional<Progress> progress;
  if (engine_.communicator().rank() == Rank{0}) {
    progress.emplace(before_.num_steps, options_.steps, inputs_.tokens().num_tokens(), is_watched());
  }
  for (std::size_t step = before_.num_steps; step < options_.steps; ++step) {
    run_layers(step);
    together(engine_.communicator(), [&] {
      if (progress) progress->step_done(totals_.step_times.back(), mean(totals_.last_imbalance));
      learning_->keep();
    });
    const bool is_last = step + 1 == options_.steps;
    if (!keeper_ || is_last) continue;
    keep(step + 1);
    if (is_to_end()) return false;
  }
  return true;
}

void StepLoop::run_layers(std::size_t step) {
  totals_.step_times.push_back(0);
  totals_.last_imbalance.clear();
  const std::uint64_t started = engine_.num_started();
  for (std::size_t i = 0; i < layers_.size(); ++i) run_layer(step, i);
  if (rebalancing_ && step + 1 < options_.steps) move_experts(step, engine_.num_started() - started);
  totals_.step_times.back() += learning_->step_done(step);
  if (timeline_) timeline_->between_steps();
  if (step == 0) totals_.first_imbalance = totals_.last_imbalance;
}

/// Signals come to the ranks at different times.
bool StepLoop::is_to_end() {
  std::array<std::int64_t, 1> is_asked{PutsOffEnd::is_asked_for() ? 1 : 0};
  engine_.communicator().all_reduce({.sums = {}, .minima = {}, .maxima = is_asked});
  if (is_asked[0] == 0) return false;
  PutsOffEnd::note_ended();
  tell_kept();  // now, in case there is no time to end in order
  return true;
}

void StepLoop::move_experts(std::size_t step, std::uint64_t num_engine_steps) {
  double& seconds = totals_.step_times.back();
  budget_->step_done(engine_.communicator(), seconds / static_cast<double>(num_engine_steps));
  seconds += rebalancing_->step_done(step, loads_);
}

StepOutcome StepLoop::compute_layer(std::size_t step, std::size_t i) {
  const std::size_t layer = inputs_.layers()[i];
  position_.enter_step(step, layer);
  position_.enter("input");
  together(engine_.communicator(), [&] { read_inputs(layer, step); });
  return forward(i);
}

void StepLoop::run_layer(std::size_t step, std::size_t i) {
  const std::size_t hidden = spec().expert.hidden;
  const std::size_t layer = inputs_.layers()[i];
  const StepOutcome outcome = compute_layer(step, i);
  totals_.step_times.back() += outcome.seconds;
  account(outcome.report, i);
  learning_->count(i, outcome);
  if (rebalancing_) rebalancing_->count(outcome);
  if (timeline_) timeline_->step_of_layer(step, i, outcome);

  position_.enter("results");
  const std::span<const float> y = y_.as<float>(own_tokens_.count * hidden);
  digest_.add(engine_.communicator(), y, hidden);
  together(engine_.communicator(), [&] { compare(layer, outcome); });
  if (output_ && step + 1 == options_.steps) output_->add_layer(outcome.routings, y);
}

void StepLoop::compare(std::size_t layer, const StepOutcome& outcome) {
  const std::size_t hidden = spec().expert.hidden;
  std::span<const float> rest = y_.as<float>(own_tokens_.count * hidden);
  std::size_t first = own_tokens_.first;
  for (const Routing& routing : outcome.routings) {
    const std::size_t count = routing.num_tokens;
    reference_->compare(layer, {first, count}, routing, rest.first(count * hidden));
    rest = rest.subspan(count * hidden);
    first += count;
  }
}

void StepLoop::read_inputs(std::size_t layer, std::size_t step) {
  read_rows(layer, step);
  if (inputs_.routing() == nullptr) return;
  const std::size_t top_k = spec().router.top_k;
  const auto experts = forced_experts_.resize<ExpertId>(own_tokens_.count * top_k);
  const auto weights = forced_weights_.resize<float>(own_tokens_.count * top_k);
  inputs_.routing()->read(layer, step, inputs_.tokens().num_tokens(), own_tokens_, experts, weights);
  forced_routing_ = {own_tokens_.count, top_k, experts, weights, {}};
}

void StepLoop::read_rows(std::size_t layer, std::size_t step) {
  const std::size_t hidden = spec().expert.hidden;
  if (options_.layer.dtype == Dtype::f32) {
    inputs_.tokens().read(layer, step, own_tokens_, x_.as<float>(own_tokens_.count * hidden));
    return;
  }
  constexpr std::size_t tokens_at_once = 64;
  std::vector<float> rows(tokens_at_once * hidden);
  const std::span<Bf16> x = x_.as<Bf16>(own_tokens_.count * hidden);
  for (std::size_t first = 0; first < own_tokens_.count; first += tokens_at_once) {
    const std::size_t count = std::min(tokens_at_once, own_tokens_.count - first);
    const std::span<float> some(rows.data(), count * hidden);
    inputs_.tokens().read(layer, step, {own_tokens_.first + first, count}, some);
    std::transform(some.begin(), some.end(), x.begin() + static_cast<std::ptrdiff_t>(first * hidden),
                   [](float value) { return round_to_bf16(value); });
  }
}

StepOutcome StepLoop::forward(std::size_t i) {
  const std::size_t num_values = own_tokens_.count * spec().expert.hidden;
  const Dtype dtype = options_.layer.dtype;
  const TokenRows x({x_.data(), num_values * bytes_of(dtype)}, dtype);
  const std::span<float> y = y_.as<float>(num_values);
  try {
    return layers_.run_step(i, x, inputs_.routing() != nullptr ? &forced_routing_ : nullptr, y);
  } catch (...) {
    position_.enter(name_of(engine_.position().phase));
    throw;
  }
}

void StepLoop::account(const StepReport& report, std::size_t i) {
  for (std::size_t p = 0; p < num_phases; ++p) totals_.phase_times[p] += report.seconds[p];
  totals_.assigned += static_cast<std::int64_t>(own_tokens_.count * spec().router.top_k);
  totals_.computed +=
      std::accumulate(report.computed_per_slot.begin(), report.computed_per_slot.end(), std::int64_t{0});
  const auto loads = report.kept_per_expert();
  loads_[i].assign(loads.begin(), loads.end());
  totals_.last_imbalance.push_back(imbalance(report.assignments_per_rank));
  totals_.most_rounds = std::max(totals_.most_rounds, report.num_rounds);
  if (report.overflow) totals_.overflow[i].add(*report.overflow);
}

}  // namespace moewe
