#include "launch/step_loop.hpp"

#include <array>
#include <fmt/format.h>
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
      layers_(engine, inputs, options, device) {
  Communicator& communicator = engine_.communicator();
  together(communicator, [&] { allocate(); });
  if (options_.layer.capacity) totals_.agreed.overflow.resize(inputs_.layers().size());
  if (options_.output) begin_output();
  if (options_.resume) resume();
  learning_.emplace(communicator, inputs_, options_, layers_.all(), before_.num_steps > 0);
  if (options_.timeline) begin_timeline();
  layers_.load();
  loads_.resize(layers_.size());
  if (options_.rebalance.is_on()) begin_rebalancing();
  learning_->begin();
}

void StepLoop::allocate() {
  const LayerSpec& spec = inputs_.spec();
  reference_.emplace(inputs_.reference(), inputs_.layers(), spec.expert.hidden, spec.router.top_k);
  step_inputs_.emplace(engine_, inputs_, options_.layer.dtype);
  results_ = Buffer(engine_.memory(), results_name,
                    step_inputs_->tokens().count * spec.expert.hidden * sizeof(float));
}

/// A run of one step that is not gone on with has nothing to keep.
void StepLoop::begin_output() {
  Communicator& communicator = engine_.communicator();
  const LayerSpec& spec = inputs_.spec();
  const std::size_t num_layers = inputs_.layers().size();
  output_.emplace(communicator, *options_.output,
                  OutputFile::Shape{inputs_.layers(), inputs_.tokens().num_tokens(), spec.expert.hidden,
                                    spec.router.top_k});
  if (options_.steps == 1 && !options_.resume) return;
  keeper_.emplace(
      communicator,
      RunKeeper::Subject{
          *options_.output, identity_of(inputs_, options_, communicator.topology(), layers_.device()),
          TotalsShape{num_layers, spec.num_experts, options_.layer.capacity.has_value()}, options_.steps});
}

void StepLoop::resume() {
  const auto kept = keeper_->resume();
  if (!kept) return;
  before_ = *kept;
  together(engine_.communicator(), [&] { digest_.restore(before_.digest); });
  totals_.agreed = before_.agreed;
}

void StepLoop::begin_timeline() {
  Communicator& communicator = engine_.communicator();
  std::optional<LatestRecords> records;
  together(communicator, [&] {
    records.emplace(engine_.memory(),
                    Timeline::room_for(options_.steps, inputs_.layers().size(), communicator.size()));
  });
  timeline_.emplace(communicator, *options_.timeline, layers_.all(), inputs_.layers(),
                    std::move(records).value());
}

void StepLoop::begin_rebalancing() {
  Communicator& communicator = engine_.communicator();
  const std::optional<PathBasis>& basis = engine_.path_basis();
  budget_.emplace(communicator.topology(), options_.rebalance.budget_bytes,
                  basis ? basis->messages.between_nodes : std::nullopt);
  rebalancing_.emplace(communicator, options_.rebalance, *budget_, layers_.all(), inputs_.layers(),
                       inputs_.costs());
}

/// The last step that was kept, once more: whatever has become of weights, input, library or machine since
/// that no header tells shows in its outputs.
void StepLoop::check_resumed() {
  Communicator& communicator = engine_.communicator();
  OutputDigest digest;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    compute_layer(before_.num_steps - 1, i);
    digest.add(communicator, results(), inputs_.spec().expert.hidden);
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
  totals.agreed = totals_.agreed;
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
  totals_.begin_step();
  const std::uint64_t started = engine_.num_started();
  for (std::size_t i = 0; i < layers_.size(); ++i) run_layer(step, i);
  if (rebalancing_ && step + 1 < options_.steps) move_experts(step, engine_.num_started() - started);
  totals_.step_times.back() += learning_->step_done(step);
  if (timeline_) timeline_->between_steps();
  totals_.end_step(step);
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
  together(engine_.communicator(), [&] { step_inputs_->read(layer, step); });
  return forward(i);
}

void StepLoop::run_layer(std::size_t step, std::size_t i) {
  const std::size_t layer = inputs_.layers()[i];
  const StepOutcome outcome = compute_layer(step, i);
  const StepReport& report = outcome.report;
  totals_.add(report, outcome.seconds, step_inputs_->tokens().count * inputs_.spec().router.top_k);
  const auto loads = report.kept_per_expert();
  loads_[i].assign(loads.begin(), loads.end());
  learning_->count(i, outcome);
  if (rebalancing_) rebalancing_->count(outcome);
  if (timeline_) timeline_->step_of_layer(step, i, outcome);

  position_.enter("results");
  digest_.add(engine_.communicator(), results(), inputs_.spec().expert.hidden);
  together(engine_.communicator(), [&] { compare(layer, outcome); });
  if (output_ && step + 1 == options_.steps) output_->add_layer(outcome.routings, results());
}

void StepLoop::compare(std::size_t layer, const StepOutcome& outcome) {
  const std::size_t hidden = inputs_.spec().expert.hidden;
  std::span<const float> rest = results();
  std::size_t first = step_inputs_->tokens().first;
  for (const Routing& routing : outcome.routings) {
    const std::size_t count = routing.num_tokens;
    reference_->compare(layer, {first, count}, routing, rest.first(count * hidden));
    rest = rest.subspan(count * hidden);
    first += count;
  }
}

StepOutcome StepLoop::forward(std::size_t i) {
  try {
    return layers_.run_step(i, step_inputs_->rows(), step_inputs_->routing(), results());
  } catch (...) {
    position_.enter(name_of(engine_.position().phase));
    throw;
  }
}

std::span<float> StepLoop::results() {
  return results_.as<float>(step_inputs_->tokens().count * inputs_.spec().expert.hidden);
}

}  // namespace moewe
