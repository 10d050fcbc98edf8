#include "runtime/moe_layer.hpp"

#include <algorithm>
#include <utility>

#include "comm/error.hpp"
#include "runtime/combine.hpp"

namespace moewe {
namespace {

/// Whether more rows come only once others are summed, which needs the shared expert.
bool must_sum(const LayerStep& step) { return step.shape.flow.ring_chunks > 0; }

}  // namespace

void MoeLayer::forward(TokenRows x, std::span<float> y) {
  LayerStep step = start(x, y);
  finish(step);
}

void MoeLayer::forward(TokenRows x, const Routing& routing, std::span<float> y) {
  LayerStep step = start(x, routing, y);
  finish(step);
}

LayerStep MoeLayer::start(TokenRows x, std::span<float> y) { return start_step(x, nullptr, y); }

LayerStep MoeLayer::start(TokenRows x, const Routing& routing, std::span<float> y) {
  return start_step(x, &routing, y);
}

LayerStep MoeLayer::start_step(TokenRows x, const Routing* given, std::span<float> y) {
  LayerStep step;
  step.lane = &engine_.begin_step(number_);
  begin_epoch();
  step.number = engine_.position().step;
  step.x = x;
  step.y = y;
  step.epoch = epoch_;
  step.report.epoch = epoch_->placement.epoch();
  route_and_dispatch(step, given);
  return step;
}

void MoeLayer::route_and_dispatch(LayerStep& step, const Routing* given) {
  PhaseClock clock(step.report, engine_.position(), Phase::route);
  StepProposal proposal = route(step, given);

  clock.begin(Phase::agree);
  Agreement agreement = agree(engine_.communicator(), std::move(proposal));
  if (migration_) migration_->agree(agreement.migration);
  decide(step, std::move(agreement));
  step.lane->is_busy = true;
  engine_.add_in_flight(step.number);
  if (step.num_rounds > 0) begin_round(step, clock);
  engine_.move_experts();
}

void MoeLayer::finish(LayerStep& step) {
  engine_.take_in_flight(step.number);
  engine_.position().enter(step.number, number_);
  if (step.num_rounds > 0) run_rounds(step);
  settle(step);
}

void MoeLayer::compute(LayerStep& step) {
  if (step.num_rounds == 0) return;
  if (must_sum(step)) return;  // two ranks in different steps would wait for one another's sums
  engine_.position().enter(step.number, number_);
  PhaseClock clock(step.report, engine_.position(), Phase::dispatch);
  compute_round(step, clock);
}

void MoeLayer::run_rounds(LayerStep& step) {
  PhaseClock clock(step.report, engine_.position(), Phase::dispatch);
  compute_round(step, clock);  // what is left of it
  finish_round(step, clock);
  while (++step.round < step.num_rounds) {
    clock.begin(Phase::agree);
    agree_on_round(step);
    begin_round(step, clock);
    compute_round(step, clock);
    finish_round(step, clock);
  }
}

MoeLayer::RoundRows MoeLayer::rows_of_round(const LayerStep& step) const {
  const auto [first, count] = step.tokens_of_round();
  const std::size_t hidden = spec_.expert.hidden;
  return {step.x.rows(first, count, row_format().bytes()), step.y.subspan(first * hidden, count * hidden)};
}

void MoeLayer::begin_round(LayerStep& step, PhaseClock& clock) {
  clock.begin(Phase::plan);
  Lane& lane = *step.lane;
  const TokenRange tokens = step.tokens_of_round();
  const std::span<const std::byte> x = rows_of_round(step).x.bytes;
  lane.plan.build(step.routing.tokens(tokens.first, tokens.count), step.epoch->placement, step.choice);
  const std::uint64_t generation = engine_.next_generation();
  step.shape = {.generation = generation,
                .format = row_format(),
                .combine = options_.combine,
                .flow = flow(),
                .overlap = options_.overlap,
                .expected_per_slot = step.expected_per_slot,
                .num_expected = step.num_expected,
                .num_expected_on_node = step.num_expected_on_node,
                .tokens_place = engine_.token_buffers().find(x),
                .audit = audit_of(generation)};
  plan_memory_of_round(step);
  step.num_shared = 0;
  if (!options_.overlap) run_shared_expert_on(step, num_left_to_share(step), clock);

  clock.begin(Phase::dispatch);
  lane.exchange().dispatch(step.shape, lane.plan, x);
}

/// The fewest tokens in a chunk that have the wanted bytes of outputs from one rank, if they go to all
/// alike; and enough chunks in the ring that ranks need not wait for one another's sums after every one.
Flow MoeLayer::flow() const {
  constexpr std::size_t ring_chunks = 4;
  if (engine_.flow()) return *engine_.flow();
  if (options_.chunk_bytes == 0) return {};
  const std::size_t output_bytes_of_token = spec_.router.top_k * row_format().bytes();
  const std::size_t wanted = options_.chunk_bytes * engine_.communicator().size();
  return {.chunk_tokens = (wanted + output_bytes_of_token - 1) / output_bytes_of_token,
          .ring_chunks = ring_chunks};
}

RoundAudit MoeLayer::audit_of(std::uint64_t generation) const {
  if (engine_.verify() != VerifyLevel::audit) return {};
  return {generation, engine_.communicator().rank()};
}

/// Other ranks wait for the experts' outputs, and nobody for the shared expert's, which fills the time in
/// which rows are on their way, and that in which outputs are.
void MoeLayer::compute_round(LayerStep& step, PhaseClock& clock) {
  constexpr std::size_t tokens_at_once = 64;
  Exchange& exchange = step.lane->exchange();
  if (must_sum(step)) run_shared_expert_on(step, num_left_to_share(step), clock);
  clock.begin(Phase::dispatch);
  while (true) {
    while (num_left_to_share(step) > 0 && !exchange.has_rows()) {
      run_shared_expert_on(step, tokens_at_once * engine_.threads(), clock);
      clock.begin(Phase::dispatch);
    }
    const RowTable* rows = exchange.next();
    if (rows == nullptr) return;
    clock.begin(Phase::experts);
    run_experts_on(*rows, step);
    clock.begin(Phase::combine);
    exchange.give_back(engine_.threads());
    if (num_left_to_share(step) == 0) combine_tokens(step, exchange.take_returned());
    clock.begin(Phase::dispatch);
  }
}

void MoeLayer::finish_round(LayerStep& step, PhaseClock& clock) {
  Exchange& exchange = step.lane->exchange();
  run_shared_expert_on(step, num_left_to_share(step), clock);
  clock.begin(Phase::combine);
  while (const TokenRange tokens = exchange.await_returned()) combine_tokens(step, tokens);
  exchange.finish();
  step.lane->ledger.count_returned(exchange.returned().num_expected(), exchange.returned().num_returned());
}

std::size_t MoeLayer::num_left_to_share(const LayerStep& step) const {
  return shared_expert_ ? step.tokens_of_round().count - step.num_shared : 0;
}

void MoeLayer::run_shared_expert_on(LayerStep& step, std::size_t most_tokens, PhaseClock& clock) {
  const std::size_t count = std::min(most_tokens, num_left_to_share(step));
  if (count == 0) return;
  clock.begin(Phase::experts);
  const auto [x, y] = rows_of_round(step);
  const std::size_t hidden = spec_.expert.hidden;
  run_shared_expert(
      *shared_expert_, shared_weights_, x.rows(step.num_shared, count, row_format().bytes()).bytes,
      std::as_writable_bytes(y.subspan(step.num_shared * hidden, count * hidden)), engine_.workspace());
  step.num_shared += count;
}

void MoeLayer::combine_tokens(LayerStep& step, TokenRange tokens) {
  const TokenRange round = step.tokens_of_round();
  const Routing routing = step.routing.tokens(round.first, round.count);
  const CombineInput input{routing, step.lane->exchange().returned(), row_format(),
                           shared_expert_.has_value()};
  combine(input, tokens, rows_of_round(step).y, engine_.threads());
}

void MoeLayer::run_experts_on(const RowTable& rows, const LayerStep& step) {
  if (function_) {
    const auto experts = step.epoch->placement.experts_of(engine_.communicator().rank());
    run_experts(function_, rows, experts, step.lane->ledger, engine_.workspace().meanwhile_of(0));
  } else {
    run_experts(*experts_, rows, step.epoch->slots, engine_.workspace(), step.lane->ledger);
  }
}

void MoeLayer::settle(LayerStep& step) {
  Ledger& ledger = step.lane->ledger;
  const auto dropped = std::count(step.routing.experts.begin(), step.routing.experts.end(), no_expert);
  ledger.close(step.routing.experts.size() - static_cast<std::size_t>(dropped));
  step.report.computed_per_slot.assign(ledger.computed_per_slot().begin(), ledger.computed_per_slot().end());
  step.report.num_rounds = step.num_rounds;
  step.lane->is_busy = false;
  step.epoch.reset();  // a caller may keep the step for longer than the layer's weights
  last_routing_ = step.routing;
  report_ = std::move(step.report);
}

void MoeLayer::plan_memory_of_round(const LayerStep& step) {
  const RoundSizes sizes = sizes_of(step.shape, step.lane->plan, engine_.communicator().rank());
  if (step.lane->planned_round == sizes) return;
  MemoryPlan memory;
  plan_round_memory(*step.lane, sizes, memory);
  step.lane->add_planned(memory);
  step.lane->planned_round = sizes;
}

}  // namespace moewe
