#include "runtime/graph_lane.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "comm/error.hpp"
#include "comm/together.hpp"
#include "runtime/agree.hpp"
#include "runtime/device_exchange.hpp"
#include "runtime/keep_until_exit.hpp"

namespace moewe {
namespace {

constexpr std::size_t least_bucket = 8;

GraphBounds complete(GraphBounds bounds, const DeviceSizes& sizes) {
  if (bounds.most_tokens == 0) bounds.most_tokens = sizes.max_tokens;
  return bounds;
}

std::size_t most_room(const DeviceSizes& sizes, const GraphBounds& bounds, std::size_t num_ranks,
                      std::size_t num_tokens) {
  const std::size_t any = num_ranks * num_tokens * sizes.spec.router.top_k;
  return bounds.most_arrivals == 0 ? any : std::min(any, bounds.most_arrivals);
}

/// [most_launched] records, and a count.
struct Pinned {
  StepRecord* records;
  std::uint32_t* count;

  explicit Pinned(DeviceArena& arena)
      : records(arena.take<StepRecord>(GraphLane::most_launched)), count(arena.take<std::uint32_t>(1)) {}
};

template <typename Take>
std::size_t bytes_of(Take&& take) {
  DeviceArena arena;
  take(arena);
  return arena.used();
}

std::size_t device_bytes(const DeviceSizes& sizes, const GraphBounds& bounds, std::size_t num_ranks) {
  return bytes_of([&](DeviceArena& arena) { GraphLane::Memory(sizes, bounds, num_ranks, arena); });
}

std::size_t pinned_bytes() {
  return bytes_of([](DeviceArena& arena) { Pinned{arena}; });
}

std::string describe(const StepRecord& record, std::size_t room) {
  const std::uint32_t value = record.value, rank = record.rank;
  switch (record.broken) {
    case StepBound::none:
      return "";
    case StepBound::tokens:
      if (value == UINT32_MAX) return fmt::format("what rank {} was given cannot be computed", rank);
      return fmt::format("{} tokens on rank {} are more than {}, for which the graph was recorded", value,
                         rank, record.graph.bucket);
    case StepBound::logits:
      return fmt::format("router: token {} of rank {} has an input or a logit that is not finite", value,
                         rank);
    case StepBound::choices:
      return fmt::format(
          "routing: token {} of rank {} has an expert that is none of the layer's, or a weight "
          "that is not finite",
          value, rank);
    case StepBound::sequence:
      return fmt::format(
          "rank {} launched its step {}, of layer {} for {} tokens, where this rank launched "
          "step {}, of layer {} for {}",
          rank, value, record.other.layer, record.other.bucket, record.step, record.graph.layer,
          record.graph.bucket);
    case StepBound::arrivals:
      return fmt::format("{} assignments came to rank {}, which has room for {}", value, rank, room);
    case StepBound::ledger:
      return fmt::format("{} assignments of rank {} were not computed, or not sent",
                         static_cast<std::int32_t>(value), rank);
  }
  return "";
}

}  // namespace

/// Freed once nothing that was launched uses it.
struct GraphLane::Owned {
  std::unique_ptr<DevicePeerMemory> peers;
  DeviceBuffer on_device;
  DeviceBuffer pinned;
  std::vector<std::unique_ptr<Event>> done;  // of the step with this number, modulo their number
};

std::vector<std::size_t> graph_buckets(std::size_t most_tokens) {
  std::vector<std::size_t> buckets;
  for (std::size_t tokens = least_bucket; tokens < most_tokens; tokens *= 2) buckets.push_back(tokens);
  buckets.push_back(most_tokens);
  return buckets;
}

GraphLane::Memory::Memory(const DeviceSizes& sizes, const GraphBounds& bounds, std::size_t num_ranks,
                          DeviceArena& arena) {
  const GraphBounds whole = complete(bounds, sizes);
  state = arena.take<StepState>(1);
  num_tokens = arena.take<std::uint32_t>(1);
  destinations = arena.take<StepWord*>(num_ranks);
  shared_outputs =
      arena.take<float>(sizes.spec.has_shared_expert() ? whole.most_tokens * sizes.spec.expert.hidden : 0);
  arrivals = DeviceArrivals(sizes, most_room(sizes, whole, num_ranks, whole.most_tokens), arena);
}

MemoryPlan GraphLane::plan_memory(const DeviceSizes& sizes, const GraphBounds& bounds,
                                  std::size_t num_ranks) {
  MemoryPlan plan;
  plan.add(DevicePeerMemory::meter_name, num_ranks * sizeof(StepWord));
  plan.add(graphs_name, device_bytes(sizes, bounds, num_ranks));
  plan.add(pinned_name, pinned_bytes());
  return plan;
}

GraphLane::GraphLane(Engine& engine, DeviceLane& lane, const GraphBounds& bounds)
    : engine_(engine),
      lane_(lane),
      bounds_(complete(bounds, lane.sizes())),
      num_ranks_(engine.communicator().size()),
      owned_(std::make_unique<Owned>()) {
  Communicator& communicator = engine_.communicator();
  StepProposal proposal;
  proposal.counts_length = engine_.max_counts();
  proposal.header.add("protocol version", protocol_version);
  proposal.header.add("most tokens of a graph", static_cast<std::int64_t>(bounds_.most_tokens));
  proposal.header.add("most arrivals of a graph", static_cast<std::int64_t>(bounds_.most_arrivals));
  try {
    check();
  } catch (...) {
    proposal.failure = std::current_exception();
  }
  agree(communicator, std::move(proposal));
  DevicePeerMemoryOffer offer =
      make_device_peer_memory(communicator, lane_.device(), engine_.memory(), num_signals * num_ranks_,
                              num_ranks_ * sizeof(StepWord));
  if (!offer.memory) throw Error(ErrorKind::communication, offer.reason_for_none, ErrorScope::shared);
  owned_->peers = std::move(offer.memory);
  together(communicator, [&] { prepare(); });
}

void GraphLane::check() const {
  if (lane_.exchange().messages() != nullptr) {
    throw InvalidInput(
        "graphs are of steps whose rows are all pushed so far: of ranks of one node, and not for path "
        "message");
  }
  const std::size_t most = lane_.sizes().max_tokens;
  if (bounds_.most_tokens <= most && bounds_.most_tokens > 0) return;
  throw InvalidInput(
      fmt::format("graphs for {} tokens on one rank need a lane that was made for as many, not {}",
                  bounds_.most_tokens, most));
}

/// Local.
void GraphLane::prepare() {
  Device& device = lane_.device();
  Queue& queue = lane_.queue();
  owned_->on_device =
      DeviceBuffer(device, engine_.memory(), graphs_name, device_bytes(lane_.sizes(), bounds_, num_ranks_));
  owned_->pinned = DeviceBuffer(device, engine_.memory(), pinned_name, pinned_bytes(), MemoryKind::pinned);
  for (std::size_t i = 0; i < most_launched; ++i) owned_->done.push_back(device.make_event());
  DeviceArena arena(owned_->on_device.data());
  memory_ = Memory(lane_.sizes(), bounds_, num_ranks_, arena);

  const Rank self = engine_.communicator().rank();
  std::vector<StepWord*> destinations;
  for (std::size_t r = 0; r < num_ranks_; ++r) {
    const Rank rank = rank_at(r);
    destinations.push_back(reinterpret_cast<StepWord*>(owned_->peers->writable(rank)) + index(self));
    for (const Signal signal : {rows_arrived, outputs_there}) {
      std::uint64_t* const here = owned_->peers->flag_on_device(self, flag(signal, rank));
      to_all_[signal].push_back({owned_->peers->flag_on_device(rank, flag(signal, self)), 1});
      from_all_[signal].push_back({here, 1});
      used_up_[signal].push_back({here, 0});
    }
  }
  queue.fill(memory_.state, 0, sizeof *memory_.state);
  queue.fill(memory_.num_tokens, 0, sizeof *memory_.num_tokens);
  queue.copy(memory_.destinations, destinations.data(), destinations.size() * sizeof(StepWord*));
  lane_.wait();
}

GraphLane::~GraphLane() {
  if (!lane_.let_go()) keep_until_exit(std::move(owned_));
}

std::size_t GraphLane::room_for(std::size_t bucket) const {
  return most_room(lane_.sizes(), bounds_, num_ranks_, bucket);
}

const StepWord* GraphLane::words() const { return reinterpret_cast<const StepWord*>(owned_->peers->own()); }

StepRecord* GraphLane::records() const {
  DeviceArena arena(owned_->pinned.data());
  return Pinned(arena).records;
}

std::uint32_t* GraphLane::pinned_count() const {
  DeviceArena arena(owned_->pinned.data());
  return Pinned(arena).count;
}

void GraphLane::signal(Signal signal) { lane_.queue().set_flags(to_all_[signal]); }

void GraphLane::take(Signal signal) {
  lane_.queue().wait_for_flags(from_all_[signal]);
  lane_.queue().set_flags(used_up_[signal]);
}

void GraphLane::launch(const std::function<void()>& enqueue) {
  collect();
  if (num_launched_ - num_collected_ == most_launched) {
    WaitReason reason{"the device"};
    reason.missing = [&] { return missing(); };
    const auto has_room = [&] {
      (void)lane_.queue().is_idle();  // which throws where its work has failed
      collect();
      return num_launched_ - num_collected_ < most_launched;
    };
    engine_.communicator().waiter().until(has_room, reason);
  }
  enqueue();
  ++num_launched_;
  lane_.queue().record(*owned_->done[num_launched_ % most_launched]);
}

void GraphLane::collect() {
  for (; num_collected_ < num_launched_; ++num_collected_) {
    const std::uint64_t step = num_collected_ + 1;
    if (!owned_->done[step % most_launched]->is_done()) return;
    const StepRecord& record = records()[step % most_launched];
    expects(record.step == step, "a graph counts the steps that are launched");
    if (record.broken == StepBound::none) continue;
    refused_.push_back(
        {step, record.broken, rank_at(record.rank), describe(record, room_for(record.graph.bucket))});
  }
}

std::vector<RefusedStep> GraphLane::poll() {
  collect();
  return std::exchange(refused_, {});
}

std::optional<RefusedStep> GraphLane::take_refusal(std::uint64_t step) {
  collect();
  const auto found =
      std::find_if(refused_.begin(), refused_.end(), [&](const RefusedStep& r) { return r.step == step; });
  if (found == refused_.end()) return std::nullopt;
  const RefusedStep refused = *found;
  refused_.erase(found);
  return refused;
}

void GraphLane::wait() {
  WaitReason reason{"the device"};
  reason.missing = [&] { return missing(); };
  const auto is_idle = [&] { return lane_.side_queue().is_idle() && lane_.queue().is_idle(); };
  engine_.communicator().waiter().until(is_idle, reason);
  collect();
}

/// The own signal is there as soon as the device waits for the others'.
std::string GraphLane::missing() const {
  const Rank self = engine_.communicator().rank();
  const auto is_there = [&](Signal signal, Rank source) {
    return owned_->peers->published(self, flag(signal, source)) > 0;
  };
  std::string text;
  for (const Signal signal : {rows_arrived, outputs_there}) {
    if (!is_there(signal, self)) continue;
    for (std::size_t r = 0; r < num_ranks_; ++r) {
      if (is_there(signal, rank_at(r))) continue;
      text += fmt::format("{}{} of rank {}", text.empty() ? "missing: " : ", ",
                          signal == rows_arrived ? "rows" : "outputs", r);
    }
  }
  return text;
}

}  // namespace moewe
