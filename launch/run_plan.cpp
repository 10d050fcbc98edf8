#include "launch/run_plan.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "comm/together.hpp"
#include "launch/human.hpp"
#include "launch/token_range.hpp"
#include "runtime/device_lane.hpp"
#include "runtime/device_migration.hpp"
#include "runtime/device_weights.hpp"
#include "runtime/graph_layer.hpp"
#include "runtime/grouped_experts.hpp"
#include "runtime/layer_memory.hpp"
#include "runtime/rounds.hpp"

namespace moewe {
namespace {

void add_all(const MemoryPlan& from, MemoryPlan& to) {
  for (const auto& [name, bytes] : from.by_name()) to.add(name, bytes);
}

/// On memory of one kind.
struct Bound {
  std::size_t needed;
  std::size_t limit;
  const char* kind;  ///< for people, behind a number of bytes
};

std::string describe(const RunPlan& plan, const Bound& bound) {
  std::string table;
  const auto line = [&](const std::string& name, std::size_t bytes) {
    table +=
        fmt::format("  {:<28}{:>20} bytes  {:>10}\n", name, bytes, human(static_cast<double>(bytes), "B"));
  };
  for (const auto& [name, bytes] : plan.resident.by_name()) line(name, bytes);
  line(loading_name, plan.loading_bytes);
  line("steps, in many rounds", plan.least_step_bytes);
  line("steps, in one round", plan.most_step_bytes);
  if (plan.nccl_bytes > 0) line("NCCL on the GPU, estimated", plan.nccl_bytes);
  line(fmt::format("needed at least{}", bound.kind), bound.needed);
  line(fmt::format("may be used{}", bound.kind), bound.limit);
  return table;
}

/// Collective. The rank that lacks the most, or no rank.
std::optional<Rank> worst_rank(Communicator& communicator, std::size_t needed, std::size_t limit) {
  const auto counted = [](std::size_t bytes) {
    return static_cast<std::int64_t>(std::min(bytes, most_plannable_bytes));
  };
  const auto all = all_gather_values(communicator, counted(needed) - counted(limit));
  const auto worst = std::max_element(all.begin(), all.end());
  if (*worst <= 0) return std::nullopt;
  return rank_at(static_cast<std::size_t>(worst - all.begin()));
}

[[noreturn]] void refuse(Communicator& communicator, Rank worst, const RunPlan& plan, const Bound& bound) {
  const bool is_mine = communicator.rank() == worst;
  const std::string mine = is_mine ? describe(plan, bound) : "";
  const auto bytes = communicator.gather(std::as_bytes(std::span(mine)), Rank{0});
  if (communicator.rank() == Rank{0}) {
    const std::string table(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    std::fputs(fmt::format("Memory of rank {}:\n{}", number(worst), table).c_str(), stderr);
  }
  std::array<std::int64_t, 2> numbers{static_cast<std::int64_t>(bound.needed),
                                      static_cast<std::int64_t>(bound.limit)};
  communicator.broadcast(std::as_writable_bytes(std::span(numbers)), worst);
  throw Error(ErrorKind::invalid_input,
              fmt::format("the run needs {}{} on rank {}, which may use {}; less is needed with {}",
                          human(static_cast<double>(numbers[0]), "B"), bound.kind, number(worst),
                          human(static_cast<double>(numbers[1]), "B"), fmt::join(plan.remedies, ", ")),
              ErrorScope::shared);
}

/// The same on all ranks.
std::vector<std::string> remedies(const RunInputs& inputs, Dtype dtype) {
  std::vector<std::string> all;
  if (inputs.layers().size() > 1) all.emplace_back("fewer --layers");
  if (dtype != Dtype::bf16) all.emplace_back("--dtype bf16");
  all.emplace_back("more ranks on more nodes");
  all.emplace_back("fewer tokens");
  return all;
}

/// What the engine, and the tokens that it reads, take of a run's memory.
RunPlan plan_tokens(const Engine& engine, const RunInputs& inputs, Dtype dtype, std::size_t num_tokens) {
  const LayerSpec& spec = inputs.spec();
  RunPlan plan;
  add_all(engine.own_memory(), plan.resident);
  plan.resident.add(tokens_name, num_tokens * spec.expert.hidden * bytes_of(dtype));
  plan.resident.add(results_name, num_tokens * spec.expert.hidden * sizeof(float));
  if (inputs.routing() != nullptr) {
    plan.resident.add(forced_routing_name,
                      num_tokens * spec.router.top_k * (sizeof(ExpertId) + sizeof(float)));
  }
  return plan;
}

/// What a rank computes and where it begins.
struct RankShare {
  std::size_t num_slots;
  std::size_t num_tokens;
};

/// Of the parts of a step that are in flight at a time, each on a lane, the longest.
StepBounds bounds_of_part(Engine& engine, const RunInputs& inputs, const LayerOptions& options,
                          const RankShare& share) {
  const std::size_t num_ranks = engine.communicator().size();
  const std::size_t num_parts = engine.num_lanes();
  const auto part = [&](std::size_t tokens) { return (tokens + num_parts - 1) / num_parts; };
  const std::size_t in_step = inputs.tokens().num_tokens();
  std::size_t all_tokens = 0;
  for (std::size_t rank = 0; rank < num_ranks; ++rank)
    all_tokens += part(tokens_of_rank(in_step, num_ranks, rank_at(rank)).count);
  const std::size_t top_k = inputs.spec().router.top_k;
  return {.num_tokens = all_tokens,
          .most_tokens_of_rank = part((in_step + num_ranks - 1) / num_ranks),
          .num_ranks = num_ranks,
          .top_k = top_k,
          .num_expected = all_tokens * std::min(top_k, share.num_slots),
          .num_expected_on_node = all_tokens * top_k,
          .row_bytes = inputs.spec().expert.hidden * bytes_of(options.dtype),
          .is_audited = engine.verify() == VerifyLevel::audit,
          .combine = options.combine,
          .flow = {}};
}

/// Lanes share equally what steps may take, so that each is planned to need what the one with the longest
/// part does.
void plan_steps(Engine& engine, const RunInputs& inputs, const LayerOptions& options, const RankShare& share,
                RunPlan& plan) {
  const LayerSpec& spec = inputs.spec();
  const StepBounds bounds = bounds_of_part(engine, inputs, options, share);
  const std::size_t own_tokens = (share.num_tokens + engine.num_lanes() - 1) / engine.num_lanes();
  MemoryPlan routing;
  if (inputs.routing() == nullptr)
    engine.lane().routed.plan_memory(own_tokens, spec.router.top_k, spec.num_experts, routing);
  if (options.capacity) engine.lane().decided.plan_memory(own_tokens, spec.router.top_k, 0, routing);
  const auto bytes_in = [&](std::size_t num_rounds) {
    const std::size_t of_lane =
        saturated_sum(routing.total(), most_round_bytes(engine.lane(), bounds, num_rounds));
    std::size_t of_all = 0;
    for (std::size_t i = 0; i < engine.num_lanes(); ++i) of_all = saturated_sum(of_all, of_lane);
    return of_all;
  };
  plan.least_step_bytes = bytes_in(std::max<std::size_t>(1, bounds.most_tokens_of_rank));
  plan.most_step_bytes = bytes_in(1);
}

MemoryPlan plan_device(const RunInputs& inputs, const DeviceSizes& sizes, std::size_t num_ranks,
                       const DeviceShare& share) {
  MemoryPlan plan;
  const std::size_t num_layers = inputs.layers().size();
  for (std::size_t i = 0; i < num_layers; ++i) {
    add_all(DeviceWeights::plan_memory(sizes.spec, sizes.dtype, sizes.num_slots, sizes.most_slots,
                                       share.staging_slots),
            plan);
    if (share.staging_slots > 0)
      add_all(DeviceMigration::plan_memory(DeviceWeights::expert_bytes(sizes.spec, sizes.dtype)), plan);
  }
  if (share.staging_bytes > 0) plan.add(PinnedPool::meter_name, share.staging_bytes);
  add_all(DeviceLane::plan_memory(sizes, num_ranks), plan);
  if (share.mode == DeviceMode::eager) return plan;
  add_all(GraphLane::plan_memory(sizes, {}, num_ranks), plan);
  const bool has_replicas = sizes.most_slots > sizes.spec.num_experts;
  for (std::size_t i = 0; has_replicas && i < num_layers; ++i)
    plan.add(GraphLane::graphs_name, GraphLayer::quota_bytes(sizes.most_slots));
  return plan;
}

/// Of memory for a device, what is its own.
std::size_t bytes_not_pinned(const MemoryPlan& on_device) {
  std::size_t sum = 0;
  for (const auto& [name, bytes] : on_device.by_name()) {
    const bool is_pinned = name == DeviceLane::pinned_name || name == GraphLane::pinned_name ||
                           name == GroupedExperts::pinned_name || name == PinnedPool::meter_name;
    if (!is_pinned) sum = saturated_sum(sum, bytes);
  }
  return sum;
}

}  // namespace

std::size_t RunPlan::least_bytes() const {
  return saturated_sum(resident.total(), std::max(loading_bytes, least_step_bytes));
}

std::size_t RunPlan::least_host_bytes() const {
  if (gpu_bytes == 0) return least_bytes();
  return saturated_sum(resident.total() - std::min(resident.total(), gpu_bytes - most_step_bytes),
                       loading_bytes);
}

std::size_t RunPlan::most_host_bytes() const {
  return gpu_bytes == 0 ? saturated_sum(resident.total(), most_step_bytes) : least_host_bytes();
}

RunPlan plan_run(Engine& engine, const RunInputs& inputs, const LayerOptions& options, std::size_t num_slots,
                 std::size_t num_tokens) {
  const LayerSpec& spec = inputs.spec();
  const LayerShare share{num_slots, engine.threads(), engine.communicator().size()};
  const LayerMemory layer = plan_layer(spec, options, share, engine.matmuls());
  RunPlan plan = plan_tokens(engine, inputs, options.dtype, num_tokens);
  plan.remedies = remedies(inputs, options.dtype);
  for (std::size_t i = 0; i < inputs.layers().size(); ++i) add_all(layer.weights, plan.resident);
  add_all(layer.shared, plan.resident);
  plan.loading_bytes = layer.loading_bytes + engine.initial_lane_bytes();

  plan_steps(engine, inputs, options, {num_slots, num_tokens}, plan);
  return plan;
}

RunPlan plan_run_on_device(Engine& engine, const RunInputs& inputs, const DeviceSizes& sizes,
                           const DeviceShare& share) {
  RunPlan plan = plan_tokens(engine, inputs, sizes.dtype, share.num_tokens);
  plan.remedies = remedies(inputs, sizes.dtype);
  plan.loading_bytes = DeviceWeights::loading_bytes(sizes.spec) + engine.initial_lane_bytes();
  const MemoryPlan on_device = plan_device(inputs, sizes, engine.communicator().size(), share);
  add_all(on_device, plan.resident);
  std::size_t arrivals_bytes = 0;
  if (share.mode == DeviceMode::eager) {
    const std::size_t arriving =
        inputs.tokens().num_tokens() * std::min(sizes.spec.router.top_k, sizes.num_slots);
    arrivals_bytes = DeviceLane::plan_arrivals(sizes, arriving).total();
  }
  MemoryPlan decided;
  if (share.has_capacity)
    engine.lane().decided.plan_memory(share.num_tokens, sizes.spec.router.top_k, 0, decided);
  plan.least_step_bytes = plan.most_step_bytes = saturated_sum(arrivals_bytes, decided.total());
  if (share.is_on_gpu) plan.gpu_bytes = saturated_sum(bytes_not_pinned(on_device), arrivals_bytes);
  plan.nccl_bytes = share.nccl_bytes;
  return plan;
}

void require_fit(Engine& engine, const RunPlan& plan, const MemoryLimits& limits) {
  Communicator& communicator = engine.communicator();
  const Bound on_host = limits.asked_for ? Bound{plan.least_bytes(), *limits.asked_for, ""}
                                         : Bound{plan.least_host_bytes(), limits.host, ""};
  for (const Bound& bound :
       {on_host, Bound{saturated_sum(plan.gpu_bytes, plan.nccl_bytes), limits.gpu, " on the GPU"}}) {
    if (const auto worst = worst_rank(communicator, bound.needed, bound.limit))
      refuse(communicator, *worst, plan, bound);
  }
  if (limits.asked_for || worst_rank(communicator, plan.most_host_bytes(), on_host.limit))
    engine.limit_memory(on_host.limit);
}

}  // namespace moewe
