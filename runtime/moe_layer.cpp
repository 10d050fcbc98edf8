#include "runtime/moe_layer.hpp"

#include <fmt/format.h>
#include <limits>
#include <numeric>
#include <utility>

#include "comm/error.hpp"
#include "comm/together.hpp"
#include "runtime/combine.hpp"

namespace moewe {

namespace {

/// Throws InvalidInput for sizes that no layer has, and for a placement of something else.
void check(const LayerSpec& spec, const Placement& placement, std::size_t num_ranks) {
  const std::size_t top_k = spec.router.top_k;
  if (spec.expert.hidden == 0 || spec.expert.intermediate == 0 || top_k == 0 || top_k > spec.num_experts) {
    throw InvalidInput(
        fmt::format("a layer cannot have hidden size {}, intermediate size {} and top-{} of {} experts",
                    spec.expert.hidden, spec.expert.intermediate, top_k, spec.num_experts));
  }
  if (placement.num_ranks() != num_ranks || placement.num_experts() != spec.num_experts) {
    throw InvalidInput(fmt::format("the placement is of {} experts on {} ranks, the layer of {} on {}",
                                   placement.num_experts(), placement.num_ranks(), spec.num_experts,
                                   num_ranks));
  }
}

}  // namespace

MoeLayer::MoeLayer(Engine& engine, const LayerSpec& spec, Placement placement, const WeightSource& source)
    : engine_(engine), spec_(spec), number_(engine.num_layers()) {
  Communicator& communicator = engine_.communicator();
  StepProposal proposal{header(Operation::construct_layer, placement), {}, engine_.max_experts(), nullptr};
  try {
    check(spec, placement, communicator.size());
  } catch (...) {
    proposal.failure = std::current_exception();
  }
  agree(communicator, proposal);
  together(communicator, [&] {
    experts_.emplace(spec_.expert, engine_.matmuls(), engine_.memory());
    load_router(source);
    SlotTable slots = experts_->load(source, placement.experts_of(communicator.rank()));
    epoch_ = std::make_shared<const LayerEpoch>(LayerEpoch{std::move(placement), std::move(slots)});
  });
  engine_.add_layer(spec.num_experts);
}

void MoeLayer::load_router(const WeightSource& source) {
  const std::size_t num_values = spec_.num_experts * spec_.expert.hidden;
  Buffer unpacked(engine_.memory(), "weights being packed", num_values * sizeof(float));
  source.read_router(unpacked.as<float>(num_values));
  router_.emplace(spec_.router, engine_.matmuls().get(spec_.expert.hidden, spec_.num_experts),
                  engine_.memory(), unpacked.as<float>(num_values));
}

void MoeLayer::forward(std::span<const float> x, std::span<float> y) { step(x, nullptr, y); }

void MoeLayer::forward(std::span<const float> x, const Routing& routing, std::span<float> y) {
  step(x, &routing, y);
}

void MoeLayer::step(std::span<const float> x, const Routing* given, std::span<float> y) {
  Lane& lane = engine_.lane();
  const std::shared_ptr<const LayerEpoch> epoch = epoch_;
  report_ = {};
  PhaseClock clock(report_, engine_.begin_step(number_));
  const StepProposal proposal = route(x, given, y);

  clock.begin(Phase::agree);
  const Agreement agreement = agree(engine_.communicator(), proposal);
  lane.ledger.open(engine_.verify(),
                   assignments_per_slot(agreement, epoch->placement, engine_.communicator().rank()));

  clock.begin(Phase::plan);
  lane.plan.build(*last_routing_, epoch->placement);

  clock.begin(Phase::dispatch);
  lane.exchange().dispatch(shape_of_step(), lane.plan, std::as_bytes(x));
  while (const RowTable* rows = lane.exchange().next()) {
    clock.begin(Phase::experts);
    experts_->run(*rows, epoch->slots, lane.workspace, lane.ledger);
    clock.begin(Phase::dispatch);
    lane.exchange().give_back();
  }

  clock.begin(Phase::combine);
  const ReturnTable& returned = lane.exchange().returned();
  combine(*last_routing_, returned, y, spec_.expert.hidden, engine_.threads());
  lane.exchange().finish();
  settle(agreement, returned);
}

StepProposal MoeLayer::route(std::span<const float> x, const Routing* given, std::span<const float> y) {
  StepProposal proposal{header(Operation::run_step, epoch_->placement), {}, engine_.max_experts(), nullptr};
  try {
    last_routing_ = given != nullptr ? given : &engine_.lane().routing;
    const std::size_t num_tokens = check_sizes(x, y);
    if (given == nullptr) {
      router_->route(x, num_tokens, engine_.lane().routing, engine_.threads());
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
  constexpr std::size_t max_tokens = std::numeric_limits<std::int32_t>::max();
  if (x.size() / hidden > max_tokens) {
    throw InvalidInput(fmt::format("layer {}: {} tokens on one rank are more than {}", number_,
                                   x.size() / hidden, max_tokens));
  }
  return x.size() / hidden;
}

void MoeLayer::settle(const Agreement& agreement, const ReturnTable& returned) {
  Ledger& ledger = engine_.lane().ledger;
  ledger.close(returned.num_expected(), returned.num_returned());
  report_.assignments_per_expert = agreement.assignments_per_expert;
  report_.computed_per_slot.assign(ledger.computed_per_slot().begin(), ledger.computed_per_slot().end());
}

StepHeader MoeLayer::header(Operation operation, const Placement& placement) const {
  return {.operation = static_cast<std::int64_t>(operation),
          .layer = static_cast<std::int64_t>(number_),
          .step = static_cast<std::int64_t>(engine_.position().step),
          .epoch = static_cast<std::int64_t>(placement.epoch()),
          .placement = static_cast<std::int64_t>(placement.digest()),
          .hidden = static_cast<std::int64_t>(spec_.expert.hidden),
          .intermediate = static_cast<std::int64_t>(spec_.expert.intermediate),
          .num_experts = static_cast<std::int64_t>(spec_.num_experts),
          .top_k = static_cast<std::int64_t>(spec_.router.top_k),
          .renormalise = spec_.router.renormalise ? 1 : 0,
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
          .num_slots = promised.size(),
          .num_expected = static_cast<std::size_t>(expected)};
}

}  // namespace moewe
