#include "runtime/device_layer.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>
#include <utility>

#include "comm/error.hpp"
#include "comm/together.hpp"
#include "runtime/device_audit.hpp"
#include "runtime/device_exchange.hpp"
#include "runtime/kernels/address_outputs.hpp"
#include "runtime/kernels/check_logits.hpp"
#include "runtime/kernels/choose_slots.hpp"
#include "runtime/kernels/combine_tokens.hpp"
#include "runtime/kernels/count_destinations.hpp"
#include "runtime/kernels/fill_plan.hpp"
#include "runtime/kernels/multiply_rows.hpp"
#include "runtime/kernels/push_plan.hpp"
#include "runtime/kernels/push_rows.hpp"
#include "runtime/kernels/route_tokens.hpp"

namespace moewe {
namespace {

std::uint32_t narrow(std::size_t count) { return static_cast<std::uint32_t>(count); }

}  // namespace

void DeviceLayer::run(const Tokens& tokens) {
  account_ = &engine_.begin_step(number_);
  begin_epoch();
  report_ = {};
  report_.epoch = placement_.epoch();
  report_.num_rounds = 1;
  PhaseClock clock(report_, engine_.position(), Phase::route);
  StepProposal proposal = route(tokens);

  clock.begin(Phase::agree);
  Agreement agreement = agree(engine_.communicator(), std::move(proposal));
  if (migration_) migration_->agree(agreement.migration);
  decide(std::move(agreement));
  generation_ = engine_.next_generation();

  clock.begin(Phase::plan);
  plan(tokens);

  clock.begin(Phase::dispatch);
  seal_rows(tokens);
  dispatch(tokens);
  lane_.move_experts();
  start_shared_expert(tokens);
  lane_.exchange().await_rows(generation_);

  clock.begin(Phase::experts);
  group();
  function_ ? run_function() : run_own_experts();
  give_back();

  clock.begin(Phase::combine);
  combine(tokens);
  settle();
}

StepProposal DeviceLayer::route(const Tokens& tokens) {
  StepProposal proposal;
  proposal.header = header(Operation::run_step, placement_);
  proposal.counts_length = engine_.max_counts();
  if (migration_) proposal.migration = migration_->word();
  try {
    check_sizes(tokens);
    if (function_ && tokens.given == nullptr)
      throw InvalidInput(fmt::format("layer {} has no router: a step needs a routing", number_));
    if (!tokens.on_host.bytes.empty())
      lane_.queue().copy(lane_.memory().x, tokens.on_host.bytes.data(), tokens.on_host.bytes.size());
    tokens.given != nullptr ? take(tokens) : choose(tokens);
    if (options_.capacity) make_room_to_decide(tokens);
    proposal.num_tokens = tokens.count;
    proposal.counts =
        count_assignments(routing_, spec_.num_experts, proposal.counts_length + StepProposal::num_appended);
    report_.own_per_expert = proposal.counts;
  } catch (...) {
    proposal.failure = std::current_exception();
    await_copies();
  }
  return proposal;
}

/// A caller may let go of rows that a failed step has begun to copy. What fails here has failed there before.
void DeviceLayer::await_copies() noexcept {
  try {
    lane_.wait();
  } catch (...) {
    return;
  }
}

void DeviceLayer::check_sizes(const Tokens& tokens) const {
  const std::size_t hidden = spec_.expert.hidden;
  const std::size_t num_values = tokens.y_on_host.size();
  const std::size_t num_inputs = tokens.on_host.bytes.size() / bytes_of(options_.dtype);
  const bool is_on_host = tokens.x == lane_.memory().x;
  if (is_on_host && tokens.on_host.dtype != options_.dtype) {
    throw InvalidInput(fmt::format("layer {}: rows are {}, but the layer runs in {}", number_,
                                   name_of(tokens.on_host.dtype), name_of(options_.dtype)));
  }
  if (is_on_host && (num_inputs % hidden != 0 || num_values != num_inputs)) {
    throw InvalidInput(fmt::format("layer {}: {} input and {} output values are not both [num_tokens, {}]",
                                   number_, num_inputs, num_values, hidden));
  }
  if (tokens.count > lane_.sizes().max_tokens) {
    throw InvalidInput(
        fmt::format("layer {}: {} tokens on one rank are more than {}, for which its lane was made", number_,
                    tokens.count, lane_.sizes().max_tokens));
  }
}

/// The router's choice, in one wait for the device.
void DeviceLayer::choose(const Tokens& tokens) {
  const DeviceStepMemory& memory = lane_.memory();
  const PinnedStepMemory& pinned = lane_.pinned();
  const std::uint32_t count = narrow(tokens.count), num_experts = narrow(spec_.num_experts);
  const std::size_t num_choices = tokens.count * spec_.router.top_k;
  MultiplyRows logits{};
  logits.inputs = {nullptr, tokens.x, lane_.sizes().row_bytes()};
  logits.outputs = {nullptr, reinterpret_cast<std::byte*>(memory.logits), num_experts * sizeof(float)};
  logits.weights = weights_->router();
  logits.num_slots = 1;
  logits.in = narrow(spec_.expert.hidden);
  logits.out = num_experts;
  logits.max_rows = count;
  logits.input_dtype = options_.dtype;
  Queue& queue = lane_.queue();
  queue.run(multiply_rows, logits);
  queue.fill(memory.bad_token, 0xFF, sizeof *memory.bad_token);
  queue.run(check_logits, {memory.logits, memory.bad_token, count, num_experts});
  queue.run(route_tokens, {memory.logits, weights_->selection_bias(), memory.logits, memory.scores,
                           memory.experts, memory.weights, count, num_experts, spec_.router});
  queue.copy(pinned.experts, memory.experts, num_choices * sizeof(ExpertId));
  queue.copy(pinned.weights, memory.weights, num_choices * sizeof(float));
  queue.copy(pinned.bad_token, memory.bad_token, sizeof *pinned.bad_token);
  const std::size_t num_scores = options_.needs_selection() ? tokens.count * spec_.num_experts : 0;
  if (num_scores > 0) queue.copy(pinned.selection, memory.logits, num_scores * sizeof(float));
  lane_.wait();
  if (*pinned.bad_token < count) {
    throw InvalidInput(
        fmt::format("router: token {} has an input or a logit that is not finite; inputs and router weights "
                    "must be finite and not so large that their product is not",
                    *pinned.bad_token));
  }
  routing_ = {tokens.count,
              spec_.router.top_k,
              {pinned.experts, num_choices},
              {pinned.weights, num_choices},
              {pinned.selection, num_scores}};
}

/// The caller's. Once it has been copied, an error of any rank may end the step.
void DeviceLayer::take(const Tokens& tokens) {
  const Routing& given = *tokens.given;
  if (given.num_tokens != tokens.count || given.top_k != spec_.router.top_k) {
    throw InvalidInput(fmt::format("layer {}: routing of {} tokens with top-{} for {} tokens with top-{}",
                                   number_, given.num_tokens, given.top_k, tokens.count, spec_.router.top_k));
  }
  if (options_.needs_selection()) check_selection(given, spec_.num_experts, number_);
  routing_ = given;
  lane_.queue().copy(lane_.memory().experts, given.experts.data(), given.experts.size_bytes());
  lane_.queue().copy(lane_.memory().weights, given.weights.data(), given.weights.size_bytes());
  lane_.wait();
}

void DeviceLayer::decide(Agreement agreement) {
  Communicator& communicator = engine_.communicator();
  report_.assignments_per_expert = std::move(agreement.counts);
  if (options_.capacity) bound(agreement.num_tokens);
  StepSplit split = split_step(communicator, placement_, routing_, report_.kept_per_expert());
  last_split_ = split.digest;
  quotas_ = std::move(split.quotas);
  report_.assignments_per_rank = placement_.rank_loads(split.per_slot);
  promised_ = assignments_of(communicator.rank(), placement_, split.per_slot);
  num_promised_ =
      static_cast<std::size_t>(std::accumulate(promised_.begin(), promised_.end(), std::int64_t{0}));
  lane_.expect_arrivals(report_.assignments_per_rank);
  account_->add_planned(DeviceLane::plan_arrivals(lane_.sizes(), lane_.arrivals().room));
  if (function_) expect_places(split.per_slot);
  account_->ledger.open(engine_.verify(), promised_);
}

void DeviceLayer::plan(const Tokens& tokens) {
  const DeviceStepMemory& memory = lane_.memory();
  Queue& queue = lane_.queue();
  const std::uint32_t count = narrow(tokens.count), top_k = narrow(spec_.router.top_k);
  const std::uint32_t num_ranks = narrow(engine_.communicator().size());
  if (options_.capacity) put_decided();
  if (!quotas_.empty()) {
    std::copy(quotas_.begin(), quotas_.end(), lane_.pinned().quotas);
    queue.copy(memory.quotas, lane_.pinned().quotas, quotas_.size() * sizeof(std::int64_t));
  }
  queue.run(choose_slots, {memory.experts, weights_->first_slot(), quotas_.empty() ? nullptr : memory.quotas,
                           memory.slots, count * top_k, narrow(spec_.num_experts)});
  queue.run(count_destinations,
            {memory.slots, weights_->slot_rank(), memory.rows, memory.assignments, count, top_k, num_ranks});
  queue.run(fill_plan, {memory.slots, memory.weights, weights_->slot_rank(), weights_->slot_position(),
                        memory.rows, memory.assignments, memory.first_row, memory.first_assignment,
                        memory.tokens, memory.planned, count, top_k, num_ranks});
}

void DeviceLayer::dispatch(const Tokens& tokens) {
  const DeviceStepMemory& memory = lane_.memory();
  Queue& queue = lane_.queue();
  const std::uint32_t num_ranks = narrow(engine_.communicator().size());
  const std::uint32_t most = narrow(tokens.count * spec_.router.top_k);
  DeviceExchange& exchange = lane_.exchange();
  if (DeviceMessages* const messages = exchange.messages()) {
    messages->announce(
        {generation_, num_promised_, count_for_ranks(routing_, placement_, quotas_), lane_.arrivals()});
  }
  queue.run(push_rows, {tokens.x, memory.tokens, memory.first_row, memory.row_destinations,
                        lane_.sizes().row_bytes(), num_ranks, most});
  queue.run(push_plan, {memory.planned, memory.first_row, memory.first_assignment, memory.plan_destinations,
                        num_ranks, most});
  exchange.send_rows(generation_);
}

void DeviceLayer::combine(const Tokens& tokens) {
  const DeviceStepMemory& memory = lane_.memory();
  const PinnedStepMemory& pinned = lane_.pinned();
  Queue& queue = lane_.queue();
  const std::size_t num_ranks = engine_.communicator().size();
  const std::size_t num_choices = tokens.count * spec_.router.top_k;
  DeviceExchange& exchange = lane_.exchange();
  const bool is_fast = options_.combine == Combine::fast;
  queue.fill(memory.addresses, 0, num_choices * sizeof *memory.addresses);
  queue.run(address_outputs, {memory.planned, memory.first_assignment, exchange.outputs(), memory.addresses,
                              lane_.sizes().row_bytes(), narrow(spec_.router.top_k), narrow(num_ranks),
                              narrow(num_choices), is_fast ? memory.first_row : nullptr});
  queue.copy(pinned.first_assignment, memory.first_assignment, (num_ranks + 1) * sizeof(std::uint32_t));
  queue.copy(pinned.computed, memory.computed, promised_.size() * sizeof(std::uint32_t));
  exchange.await_outputs(generation_);
  if (spec_.has_shared_expert()) lane_.join();
  if (DeviceAudit* const audit = lane_.audit()) audit->check_outputs();
  queue.run(combine_tokens, {memory.addresses, is_fast ? nullptr : memory.weights, tokens.y,
                             spec_.has_shared_expert() ? tokens.y : nullptr, narrow(tokens.count),
                             narrow(spec_.router.top_k), narrow(spec_.expert.hidden), options_.dtype});
  if (!tokens.y_on_host.empty()) queue.copy(pinned.y, tokens.y, tokens.y_on_host.size_bytes());
  lane_.wait();
  if (DeviceMessages* const messages = exchange.messages())
    messages->finish({pinned.first_assignment, num_ranks + 1});
  std::copy_n(pinned.y, tokens.y_on_host.size(), tokens.y_on_host.data());
}

void DeviceLayer::settle() {
  Ledger& ledger = account_->ledger;
  const PinnedStepMemory& pinned = lane_.pinned();
  for (std::size_t slot = 0; slot < promised_.size(); ++slot)
    ledger.count_computed(slot, pinned.computed[slot]);
  const std::size_t num_sent = pinned.first_assignment[engine_.communicator().size()];
  ledger.count_returned(num_sent, num_sent);  // all ranks have said that theirs are there
  const auto dropped = std::count(routing_.experts.begin(), routing_.experts.end(), no_expert);
  ledger.close(routing_.experts.size() - static_cast<std::size_t>(dropped));
  report_.computed_per_slot.assign(ledger.computed_per_slot().begin(), ledger.computed_per_slot().end());
}

}  // namespace moewe
