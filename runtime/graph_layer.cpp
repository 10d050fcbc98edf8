#include "runtime/graph_layer.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <limits>
#include <optional>
#include <utility>

#include "comm/error.hpp"
#include "comm/together.hpp"
#include "runtime/agree.hpp"
#include "runtime/keep_until_exit.hpp"

// What a layer's graphs are made for, and how they are launched; graph_step.cpp has what is in them.

namespace moewe {
namespace {

GraphTokens tokens_of_host(const GraphLane& graphs, const DeviceLane& lane, bool is_routing_given) {
  const DeviceStepMemory& memory = lane.memory();
  return {memory.x, graphs.memory().num_tokens, memory.y, is_routing_given ? memory.experts : nullptr,
          is_routing_given ? memory.weights : nullptr};
}

ErrorKind kind_of(StepBound bound) {
  if (bound == StepBound::ledger) return ErrorKind::verification;
  return bound == StepBound::sequence ? ErrorKind::disagreement : ErrorKind::invalid_input;
}

}  // namespace

std::string reason_against_graphs(const LayerOptions& options, bool has_own_experts) {
  if (!has_own_experts)
    return "graphs are of a layer's own experts so far: a caller's function is for eager steps";
  if (options.can_migrate())
    return "graphs are of experts that stay where they are so far: spare slots are for eager steps";
  if (options.capacity) return "graphs are dropless so far: a capacity is for eager steps";
  if (options.combine != Combine::reproducible)
    return "sums of graphs are reproducible so far: fast ones are for eager steps";
  return "";
}

GraphLayer::GraphLayer(GraphLane& lane, DeviceLayer& layer, const GraphTokens& tokens)
    : lane_(lane), layer_(layer), tokens_(tokens), buckets_(graph_buckets(lane.bounds().most_tokens)) {
  construct();
}

GraphLayer::~GraphLayer() {
  if (!lane_.lane().let_go()) keep_until_exit(std::move(graphs_), std::move(quotas_));
}

GraphLayer::GraphLayer(GraphLane& lane, DeviceLayer& layer, bool is_routing_given)
    : GraphLayer(lane, layer, tokens_of_host(lane, lane.lane(), is_routing_given)) {}

void GraphLayer::construct() {
  Communicator& communicator = lane_.engine().communicator();
  StepProposal proposal;
  proposal.counts_length = lane_.engine().max_counts();
  proposal.header.add("protocol version", protocol_version);
  proposal.header.add("layer of a graph", static_cast<std::int64_t>(layer_.number()));
  proposal.header.add("placement epoch", static_cast<std::int64_t>(layer_.placement().epoch()));
  proposal.header.add("routing is given", tokens_.experts != nullptr);
  std::string reason = reason_against_graphs(layer_.options(), layer_.has_own_experts());
  if (lane_.engine().verify() == VerifyLevel::audit)
    reason = "graphs are not audited so far: the level is off or ledger";
  if (!reason.empty())
    proposal.failure =
        std::make_exception_ptr(InvalidInput(fmt::format("layer {}: {}", layer_.number(), reason)));
  agree(communicator, std::move(proposal));
  together(communicator, [&] { share_copies(); });
  record();
}

/// Before anything is recorded each bucket's step is done as it is, of no tokens.
void GraphLayer::record() {
  const std::uint32_t* const given = std::exchange(tokens_.num_tokens, lane_.memory().num_tokens);
  lane_.lane().queue().fill(lane_.memory().num_tokens, 0, sizeof *lane_.memory().num_tokens);
  for (const std::size_t bucket : buckets_) lane_.launch([&] { enqueue(bucket); });
  lane_.wait();
  tokens_.num_tokens = given;
  together(lane_.engine().communicator(), [&] {
    for (const std::size_t bucket : buckets_)
      graphs_.push_back(lane_.lane().queue().record_graph([&] { enqueue(bucket); }));
  });
}

/// Quotas that leave each expert one of its slots, as choose_slots takes them.
void GraphLayer::share_copies() {
  const Placement& placement = layer_.placement();
  if (!placement.has_replicas()) return;
  const Rank self = lane_.engine().communicator().rank();
  std::vector<std::int64_t> quotas(placement.num_slots(), 0);
  for (std::size_t e = 0; e < placement.num_experts(); ++e) {
    const auto slots = placement.slots_of(expert_at(e));
    const auto own =
        std::find_if(slots.begin(), slots.end(), [&](const Slot& slot) { return slot.rank == self; });
    const std::size_t chosen =
        own == slots.end() ? index(self) % slots.size() : static_cast<std::size_t>(own - slots.begin());
    quotas[placement.first_slot(expert_at(e)) + chosen] = std::numeric_limits<std::int64_t>::max();
  }
  quotas_ = DeviceBuffer(lane_.lane().device(), lane_.engine().memory(), GraphLane::graphs_name,
                         quota_bytes(quotas.size()));
  lane_.lane().queue().copy(quotas_.data(), quotas.data(), quotas_.size());
  lane_.lane().wait();
}

void GraphLayer::launch(std::size_t most_tokens_of_rank) {
  const auto bucket = std::lower_bound(buckets_.begin(), buckets_.end(), most_tokens_of_rank);
  if (bucket == buckets_.end()) {
    throw Error(
        ErrorKind::invalid_input,
        fmt::format("layer {}: {} tokens on one rank are more than {}, for which graphs were recorded",
                    layer_.number(), most_tokens_of_rank, buckets_.back()),
        ErrorScope::shared);
  }
  Graph& graph = *graphs_[static_cast<std::size_t>(bucket - buckets_.begin())];
  lane_.launch([&] { lane_.lane().queue().launch(graph); });
}

void GraphLayer::check(TokenRows x, const Routing* routing, std::span<float> y) const {
  if (tokens_.x != lane_.lane().memory().x) {
    throw InvalidInput(fmt::format(
        "layer {}: its graphs are of tokens of a caller's own, which launch() is for", layer_.number()));
  }
  const std::size_t hidden = layer_.spec().expert.hidden;
  const std::size_t num_inputs = x.bytes.size() / bytes_of(x.dtype);
  if (x.dtype != layer_.options().dtype) {
    throw InvalidInput(fmt::format("layer {}: rows are {}, but the layer runs in {}", layer_.number(),
                                   name_of(x.dtype), name_of(layer_.options().dtype)));
  }
  if (y.size() % hidden != 0 || num_inputs != y.size()) {
    throw InvalidInput(fmt::format("layer {}: {} input and {} output values are not both [num_tokens, {}]",
                                   layer_.number(), num_inputs, y.size(), hidden));
  }
  if (y.size() / hidden > buckets_.back()) {
    throw InvalidInput(
        fmt::format("layer {}: {} tokens on one rank are more than {}, for which graphs were recorded",
                    layer_.number(), y.size() / hidden, buckets_.back()));
  }
  if ((routing != nullptr) != (tokens_.experts != nullptr))
    throw InvalidInput(fmt::format("layer {}: its graphs were recorded {} a routing", layer_.number(),
                                   tokens_.experts != nullptr ? "for steps with" : "for steps without"));
  if (routing == nullptr) return;
  if (routing->num_tokens != y.size() / hidden || routing->top_k != layer_.spec().router.top_k) {
    throw InvalidInput(fmt::format("layer {}: routing of {} tokens with top-{} for {} tokens with top-{}",
                                   layer_.number(), routing->num_tokens, routing->top_k, y.size() / hidden,
                                   layer_.spec().router.top_k));
  }
}

/// From host memory to where the graphs read it.
void GraphLayer::put(TokenRows x, const Routing* routing, std::size_t num_tokens) {
  Queue& queue = lane_.lane().queue();
  const DeviceStepMemory& memory = lane_.lane().memory();
  *lane_.pinned_count() = static_cast<std::uint32_t>(num_tokens);
  queue.copy(lane_.memory().num_tokens, lane_.pinned_count(), sizeof(std::uint32_t));
  queue.copy(memory.x, x.bytes.data(), x.bytes.size());
  if (routing == nullptr) return;
  queue.copy(memory.experts, routing->experts.data(), routing->experts.size_bytes());
  queue.copy(memory.weights, routing->weights.data(), routing->weights.size_bytes());
}

void GraphLayer::forward(TokenRows x, const Routing* routing, std::span<float> y,
                         std::size_t most_tokens_of_rank) {
  Queue& queue = lane_.lane().queue();
  const DeviceStepMemory& memory = lane_.lane().memory();
  const PinnedStepMemory& pinned = lane_.lane().pinned();
  const std::size_t num_tokens = y.size() / layer_.spec().expert.hidden;
  const std::size_t num_choices = num_tokens * layer_.spec().router.top_k;
  std::exception_ptr failure;
  try {
    check(x, routing, y);
    put(x, routing, num_tokens);
  } catch (const InvalidInput&) {  // the others hear of it in the step, which is then none
    failure = std::current_exception();
    queue.fill(lane_.memory().num_tokens, 0xFF, sizeof(std::uint32_t));
  }
  launch(most_tokens_of_rank);
  if (!failure) {
    queue.copy(pinned.experts, memory.experts, num_choices * sizeof(ExpertId));
    queue.copy(pinned.weights, memory.weights, num_choices * sizeof(float));
    queue.copy(pinned.computed, memory.computed, num_slots() * sizeof(std::uint32_t));
    queue.copy(pinned.y, memory.y, y.size_bytes());
  }
  lane_.wait();
  const std::optional<RefusedStep> refused = lane_.take_refusal(lane_.num_launched());
  if (failure) std::rethrow_exception(failure);
  if (refused) throw Error(kind_of(refused->bound), refused->what, ErrorScope::shared);
  routing_ = {num_tokens,
              layer_.spec().router.top_k,
              {pinned.experts, num_choices},
              {pinned.weights, num_choices},
              {}};
  std::copy_n(pinned.y, y.size(), y.data());
}

std::span<const std::uint32_t> GraphLayer::computed_per_slot() const {
  return {lane_.lane().pinned().computed, num_slots()};
}

}  // namespace moewe
