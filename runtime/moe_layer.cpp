#include "runtime/moe_layer.hpp"

#include <fmt/format.h>
#include <numeric>
#include <vector>

#include "comm/error.hpp"
#include "comm/together.hpp"
#include "runtime/combine.hpp"

namespace moewe {

MoeLayer::MoeLayer(Engine& engine, const LayerSpec& spec, Placement placement, const WeightSource& source)
    : engine_(engine),
      spec_(spec),
      placement_(std::move(placement)),
      number_(engine.add_layer(spec.num_experts)) {
  Communicator& communicator = engine_.communicator();
  // The sizes have to be equal before the experts' counts can be compared in a step.
  agree(communicator, {header(), {}, 0, nullptr});
  together(communicator, [&] {
    experts_.emplace(spec_.expert, engine_.matmuls(), engine_.memory());
    Buffer router_weights(engine_.memory(), "weights being packed",
                          spec_.num_experts * spec_.expert.hidden * sizeof(float));
    const auto weights = router_weights.as<float>(spec_.num_experts * spec_.expert.hidden);
    source.read_router(weights);
    router_.emplace(spec_.router, engine_.matmuls().get(spec_.expert.hidden, spec_.num_experts),
                    engine_.memory(), weights);
    slots_ = experts_->load(source, placement_.experts_of(communicator.rank()), placement_.epoch());
  });
}

void MoeLayer::forward(std::span<const float> x, std::span<float> y) { step(x, nullptr, y); }

void MoeLayer::forward(std::span<const float> x, const Routing& routing, std::span<float> y) {
  step(x, &routing, y);
}

void MoeLayer::step(std::span<const float> x, const Routing* given, std::span<float> y) {
  Lane& lane = engine_.lane();
  report_ = {};
  PhaseClock clock(report_, engine_.begin_step(number_));
  const StepProposal proposal = route(x, given, y);

  clock.begin(Phase::agree);
  const Agreement agreement = agree(engine_.communicator(), proposal);

  clock.begin(Phase::plan);
  lane.plan.build(*last_routing_, placement_);
  lane.ledger.open(assignments_per_slot(agreement, placement_, engine_.communicator().rank()));

  clock.begin(Phase::dispatch);
  lane.exchange().dispatch(shape_of_step(), lane.plan, std::as_bytes(x));
  while (const RowTable* rows = lane.exchange().next()) {
    clock.begin(Phase::experts);
    experts_->run(*rows, slots_, lane.ledger);
    clock.begin(Phase::dispatch);
    lane.exchange().give_back();
  }

  clock.begin(Phase::combine);
  const ReturnTable& returned = lane.exchange().returned();
  combine(*last_routing_, returned, y, spec_.expert.hidden);
  settle(agreement, returned);
}

StepProposal MoeLayer::route(std::span<const float> x, const Routing* given, std::span<const float> y) {
  StepProposal proposal{header(), {}, engine_.max_experts(), nullptr};
  try {
    last_routing_ = given != nullptr ? given : &engine_.lane().routing;
    const std::size_t num_tokens = check_sizes(x, y);
    if (given == nullptr) {
      router_->route(x, num_tokens, engine_.lane().routing);
    } else if (given->num_tokens != num_tokens || given->top_k != spec_.router.top_k) {
      throw InvalidInput(fmt::format("layer {}: routing of {} tokens with top-{} for {} tokens with top-{}",
                                     number_, given->num_tokens, given->top_k, num_tokens,
                                     spec_.router.top_k));
    }
    proposal.assignments_per_expert = count_assignments(*last_routing_, spec_.num_experts);
  } catch (...) {
    proposal.failure = std::current_exception();
  }
  return proposal;
}

std::size_t MoeLayer::check_sizes(std::span<const float> x, std::span<const float> y) const {
  const std::size_t hidden = spec_.expert.hidden;
  if (x.size() % hidden != 0 || y.size() != x.size()) {
    throw InvalidInput(fmt::format("layer {}: {} input and {} output values are not both [num_tokens, {}]",
                                   number_, x.size(), y.size(), hidden));
  }
  return x.size() / hidden;
}

void MoeLayer::settle(const Agreement& agreement, const ReturnTable& returned) {
  const Ledger& ledger = engine_.lane().ledger;
  if (engine_.verify() != VerifyLevel::off) ledger.close(returned.num_assignments(), returned.num_returned());
  report_.assignments_per_expert = agreement.assignments_per_expert;
  report_.computed_per_slot.assign(ledger.computed_per_slot().begin(), ledger.computed_per_slot().end());
}

StepHeader MoeLayer::header() const {
  return {.layer = static_cast<std::int64_t>(number_),
          .generation = static_cast<std::int64_t>(engine_.position().step),
          .epoch = static_cast<std::int64_t>(placement_.epoch()),
          .hidden = static_cast<std::int64_t>(spec_.expert.hidden),
          .num_experts = static_cast<std::int64_t>(spec_.num_experts),
          .top_k = static_cast<std::int64_t>(spec_.router.top_k),
          .verify = static_cast<std::int64_t>(engine_.verify()),
          .protocol = protocol_version};
}

StepShape MoeLayer::shape_of_step() const {
  const auto promised = engine_.lane().ledger.promised_per_slot();
  const auto expected = std::accumulate(promised.begin(), promised.end(), std::int64_t{0});
  const std::size_t row_bytes = spec_.expert.hidden * sizeof(float);
  return {.generation = engine_.position().step,
          .row_bytes = row_bytes,
          .output_bytes = row_bytes,
          .num_slots = slots_.slots.size(),
          .num_expected = static_cast<std::size_t>(expected)};
}

}  // namespace moewe
