#include "launch/step_loop.hpp"

#include <chrono>
#include <numeric>

#include "comm/together.hpp"
#include "launch/environment.hpp"
#include "launch/progress.hpp"
#include "launch/run_result.hpp"

namespace moewe {

StepLoop::StepLoop(Engine& engine, const RunInputs& inputs, const RunOptions& options, RunPosition& position)
    : engine_(engine),
      inputs_(inputs),
      options_(options),
      position_(position),
      own_tokens_(tokens_of_rank(inputs.tokens().num_tokens(), engine.communicator().size(),
                                 engine.communicator().rank())) {
  Communicator& communicator = engine_.communicator();
  together(communicator, [&] {
    reference_.emplace(inputs_.input(), inputs_.layers(), spec().expert.hidden, spec().router.top_k);
    const std::size_t bytes = own_tokens_.count * spec().expert.hidden * sizeof(float);
    x_ = Buffer(engine_.memory(), "tokens", bytes);
    y_ = Buffer(engine_.memory(), "results", bytes);
  });
  if (options_.output) {
    output_.emplace(communicator, *options_.output,
                    OutputFile::Shape{inputs_.layers(), inputs_.tokens().num_tokens(), spec().expert.hidden,
                                      spec().router.top_k});
  }
  for (const std::size_t layer : inputs_.layers()) {
    layers_.push_back(std::make_unique<MoeLayer>(
        engine_, spec(), contiguous_placement(spec().num_experts, communicator.size()),
        CheckpointWeights(inputs_.checkpoint(), layer)));
  }
}

void StepLoop::run() {
  std::optional<Progress> progress;
  if (engine_.communicator().rank() == Rank{0}) {
    progress.emplace(options_.steps, inputs_.tokens().num_tokens(), is_watched());
  }
  for (std::size_t step = 0; step < options_.steps; ++step) {
    totals_.step_times.push_back(0);
    totals_.last_imbalance.clear();
    for (std::size_t i = 0; i < layers_.size(); ++i) run_layer(step, i);
    if (step == 0) totals_.first_imbalance = totals_.last_imbalance;
    if (progress) progress->step_done(totals_.step_times.back(), mean(totals_.last_imbalance));
  }
  if (output_) output_->commit();
}

void StepLoop::run_layer(std::size_t step, std::size_t i) {
  const std::size_t hidden = spec().expert.hidden;
  const std::size_t layer = inputs_.layers()[i];
  position_ = {"input", true, step, layer};
  inputs_.tokens().read(layer, step, own_tokens_, x_.as<float>(own_tokens_.count * hidden));
  engine_.communicator().barrier();
  totals_.step_times.back() += timed_forward(*layers_[i]);
  account(*layers_[i]);

  position_.phase = "results";
  const std::span<const float> y = y_.as<float>(own_tokens_.count * hidden);
  digest_.add(engine_.communicator(), y, hidden);
  reference_->compare(layer, own_tokens_, layers_[i]->routing(), y);
  if (output_ && step + 1 == options_.steps) output_->add_layer(layers_[i]->routing(), y);
}

double StepLoop::timed_forward(MoeLayer& layer) {
  const std::size_t num_values = own_tokens_.count * spec().expert.hidden;
  const auto start = std::chrono::steady_clock::now();
  try {
    layer.forward(x_.as<float>(num_values), y_.as<float>(num_values));
  } catch (...) {
    position_.phase = name_of(engine_.position().phase);
    throw;
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void StepLoop::account(const MoeLayer& layer) {
  const StepReport& report = layer.report();
  for (std::size_t p = 0; p < num_phases; ++p) totals_.phase_times[p] += report.seconds[p];
  totals_.assigned += static_cast<std::int64_t>(own_tokens_.count * spec().router.top_k);
  totals_.computed +=
      std::accumulate(report.computed_per_slot.begin(), report.computed_per_slot.end(), std::int64_t{0});
  totals_.last_imbalance.push_back(imbalance(layer.placement().rank_loads(report.assignments_per_expert)));
}

}  // namespace moewe
