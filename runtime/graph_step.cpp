#include "runtime/device_exchange.hpp"
#include "runtime/device_mlp.hpp"
#include "runtime/graph_layer.hpp"
#include "runtime/kernels/address_outputs.hpp"
#include "runtime/kernels/check_logits.hpp"
#include "runtime/kernels/choose_slots.hpp"
#include "runtime/kernels/combine_tokens.hpp"
#include "runtime/kernels/count_destinations.hpp"
#include "runtime/kernels/fill_plan.hpp"
#include "runtime/kernels/group_rows.hpp"
#include "runtime/kernels/push_plan.hpp"
#include "runtime/kernels/push_rows.hpp"
#include "runtime/kernels/route_tokens.hpp"
#include "runtime/kernels/step_guard.hpp"

// What a layer's graphs are: a step of at most so many tokens on a rank, from the device's own counts.

namespace moewe {
namespace {

std::uint32_t narrow(std::size_t count) { return static_cast<std::uint32_t>(count); }

}  // namespace

std::uint32_t GraphLayer::num_ranks() const { return narrow(lane_.engine().communicator().size()); }

std::uint32_t GraphLayer::num_slots() const {
  return narrow(layer_.placement().experts_of(lane_.engine().communicator().rank()).size());
}

const ExpertId* GraphLayer::experts() const {
  return tokens_.experts != nullptr ? tokens_.experts : lane_.lane().memory().experts;
}

const float* GraphLayer::weights() const {
  return tokens_.experts != nullptr ? tokens_.weights : lane_.lane().memory().weights;
}

GraphName GraphLayer::name(std::size_t bucket) const { return {narrow(layer_.number()), narrow(bucket)}; }

DeviceCount GraphLayer::num_tokens(std::size_t bucket) const {
  return {&lane_.memory().state->num_tokens, narrow(bucket)};
}

DeviceCount GraphLayer::num_assignments(std::size_t bucket) const {
  return {&lane_.memory().state->num_assignments, narrow(bucket * layer_.spec().router.top_k)};
}

void GraphLayer::enqueue(std::size_t bucket) {
  const LayerSpec& spec = layer_.spec();
  StepState* const state = lane_.memory().state;
  Queue& queue = lane_.lane().queue();
  queue.run(open_step, {state, tokens_.num_tokens, narrow(bucket), narrow(spec.router.top_k)});
  if (tokens_.experts != nullptr) {
    queue.run(check_choices, {experts(), weights(), &state->bad_token, num_assignments(bucket),
                              narrow(spec.router.top_k), narrow(spec.num_experts)});
    queue.run(admit_tokens, {state, StepBound::choices});
  } else {
    choose(bucket);
    queue.run(admit_tokens, {state, StepBound::logits});
  }
  plan(bucket);
  dispatch(bucket);
  start_shared_expert(bucket);
  lane_.take(GraphLane::rows_arrived);
  run_experts(bucket);
  tell(bucket);
  combine(bucket);
}

/// The router's choice.
void GraphLayer::choose(std::size_t bucket) {
  const LayerSpec& spec = layer_.spec();
  const DeviceStepMemory& memory = lane_.lane().memory();
  StepState* const state = lane_.memory().state;
  const std::uint32_t num_experts = narrow(spec.num_experts);
  MultiplyRows logits{};
  logits.inputs = {nullptr, tokens_.x, lane_.lane().sizes().row_bytes()};
  logits.outputs = {nullptr, reinterpret_cast<std::byte*>(memory.logits), num_experts * sizeof(float)};
  logits.weights = layer_.weights().router();
  logits.first_row = state->row_range;
  logits.num_slots = 1;
  logits.in = narrow(spec.expert.hidden);
  logits.out = num_experts;
  logits.max_rows = narrow(bucket);
  logits.input_dtype = layer_.options().dtype;
  Queue& queue = lane_.lane().queue();
  queue.run(multiply_rows, logits);
  queue.run(check_logits, {memory.logits, &state->bad_token, num_tokens(bucket), num_experts});
  queue.run(route_tokens, {memory.logits, layer_.weights().selection_bias(), memory.logits, memory.scores,
                           memory.experts, memory.weights, num_tokens(bucket), num_experts, spec.router});
}

void GraphLayer::plan(std::size_t bucket) {
  const DeviceStepMemory& memory = lane_.lane().memory();
  const DeviceWeights& places = layer_.weights();
  const std::uint32_t top_k = narrow(layer_.spec().router.top_k);
  Queue& queue = lane_.lane().queue();
  queue.run(choose_slots, {experts(), places.first_slot(), quotas_.as<std::int64_t>(), memory.slots,
                           num_assignments(bucket), narrow(layer_.spec().num_experts)});
  queue.run(count_destinations, {memory.slots, places.slot_rank(), memory.rows, memory.assignments,
                                 num_tokens(bucket), top_k, num_ranks()});
  queue.run(fill_plan, {memory.slots, weights(), places.slot_rank(), places.slot_position(), memory.rows,
                        memory.assignments, memory.first_row, memory.first_assignment, memory.tokens,
                        memory.planned, num_tokens(bucket), top_k, num_ranks()});
}

void GraphLayer::dispatch(std::size_t bucket) {
  const DeviceStepMemory& memory = lane_.lane().memory();
  const std::uint32_t most = num_assignments(bucket).at_most;
  Queue& queue = lane_.lane().queue();
  queue.run(push_rows, {tokens_.x, memory.tokens, memory.first_row, memory.row_destinations,
                        lane_.lane().sizes().row_bytes(), num_ranks(), most});
  queue.run(push_plan, {memory.planned, memory.first_row, memory.first_assignment, memory.plan_destinations,
                        num_ranks(), most});
  lane_.signal(GraphLane::rows_arrived);
}

/// Beside the step, into memory of its own: y is written at the end, or not at all.
void GraphLayer::start_shared_expert(std::size_t bucket) {
  const LayerSpec& spec = layer_.spec();
  if (!spec.has_shared_expert()) return;
  lane_.lane().fork();
  DeviceMlp mlp{};
  mlp.shape = spec.shared_expert();
  mlp.weights = layer_.weights().shared_expert();
  mlp.inputs = {nullptr, tokens_.x, lane_.lane().sizes().row_bytes()};
  mlp.outputs = {nullptr, reinterpret_cast<std::byte*>(lane_.memory().shared_outputs),
                 spec.expert.hidden * sizeof(float)};
  mlp.hidden = lane_.lane().memory().shared_hidden;
  mlp.dtype = layer_.options().dtype;
  mlp.output_dtype = Dtype::f32;
  mlp.num_slots = 1;
  mlp.max_rows = narrow(bucket);
  mlp.first_row = lane_.memory().state->row_range;
  run_mlp(lane_.lane().side_queue(), mlp);
}

/// Of the rows that there is room for; a rank that got more tells so, and its outputs are not used.
void GraphLayer::run_experts(std::size_t bucket) {
  const DeviceStepMemory& memory = lane_.lane().memory();
  const DeviceArrivals& arrivals = lane_.memory().arrivals;
  Queue& queue = lane_.lane().queue();
  GroupRows group{};
  group.sources = memory.sources;
  group.row_bytes = lane_.lane().sizes().row_bytes();
  group.inputs = arrivals.inputs;
  group.outputs = arrivals.outputs;
  group.first_row = memory.slot_first_row;
  group.num_sources = num_ranks();
  group.num_slots = num_slots();
  group.max_rows = narrow(lane_.room_for(bucket));
  queue.run(group_rows, group);

  queue.fill(memory.computed, 0, num_slots() * sizeof *memory.computed);
  DeviceMlp mlp{};
  mlp.shape = layer_.spec().expert;
  mlp.weights = layer_.weights().experts();
  mlp.inputs = {arrivals.inputs, nullptr, 0};
  mlp.outputs = {arrivals.outputs, nullptr, 0};
  mlp.hidden = arrivals.hidden;
  mlp.dtype = mlp.output_dtype = layer_.options().dtype;
  mlp.num_slots = num_slots();
  mlp.max_rows = group.max_rows;
  mlp.first_row = memory.slot_first_row;
  mlp.computed = memory.computed;
  run_mlp(queue, mlp);
}

void GraphLayer::tell(std::size_t bucket) {
  const DeviceStepMemory& memory = lane_.lane().memory();
  lane_.lane().queue().run(tell_ranks, {lane_.memory().state, memory.sources, memory.computed,
                                        memory.first_assignment, lane_.memory().destinations, name(bucket),
                                        num_ranks(), num_slots(), narrow(lane_.room_for(bucket))});
  lane_.signal(GraphLane::outputs_there);
}

void GraphLayer::combine(std::size_t bucket) {
  const LayerSpec& spec = layer_.spec();
  const DeviceStepMemory& memory = lane_.lane().memory();
  StepState* const state = lane_.memory().state;
  const std::uint32_t most = num_assignments(bucket).at_most;
  Queue& queue = lane_.lane().queue();
  queue.fill(memory.addresses, 0, most * sizeof *memory.addresses);
  AddressOutputs address{};
  address.planned = memory.planned;
  address.first_assignment = memory.first_assignment;
  address.outputs = lane_.lane().exchange().outputs();
  address.addresses = memory.addresses;
  address.row_bytes = lane_.lane().sizes().row_bytes();
  address.top_k = narrow(spec.router.top_k);
  address.num_ranks = num_ranks();
  address.max_assignments = most;
  queue.run(address_outputs, address);
  lane_.take(GraphLane::outputs_there);
  queue.run(close_step, {state, lane_.words(), lane_.records(), name(bucket), num_ranks(),
                         narrow(GraphLane::most_launched)});
  if (spec.has_shared_expert()) lane_.lane().join();
  CombineTokens sum{};
  sum.outputs = memory.addresses;
  sum.weights = weights();
  sum.y = tokens_.y;
  sum.addend = spec.has_shared_expert() ? lane_.memory().shared_outputs : nullptr;
  sum.num_tokens = {&state->num_written, narrow(bucket)};
  sum.top_k = address.top_k;
  sum.hidden = narrow(spec.expert.hidden);
  sum.dtype = layer_.options().dtype;
  queue.run(combine_tokens, sum);
}

}  // namespace moewe
