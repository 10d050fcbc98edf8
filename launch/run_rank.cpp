#include "launch/run_rank.hpp"

#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <functional>
#include <numeric>
#include <optional>
#include <sstream>

#include "comm/device_transport.hpp"
#include "comm/together.hpp"
#include "launch/available_memory.hpp"
#include "launch/console.hpp"
#include "launch/cores.hpp"
#include "launch/environment.hpp"
#include "launch/exchange_choice.hpp"
#include "launch/run_device.hpp"
#include "launch/run_inputs.hpp"
#include "launch/run_layers.hpp"
#include "launch/run_plan.hpp"
#include "launch/run_position.hpp"
#include "launch/run_result.hpp"
#include "launch/step_loop.hpp"
#include "runtime/atomic_file.hpp"

namespace moewe {
namespace {

ExpectedTraffic expected_traffic(const RunInputs& inputs, const LayerOptions& layer, std::size_t num_ranks) {
  const LayerSpec& spec = inputs.spec();
  return {spec.num_experts, spec.router.top_k, RowFormat{spec.expert.hidden, layer.dtype}.bytes(),
          layer.combine, inputs.tokens().num_tokens() / num_ranks};
}

EngineOptions engine_options(std::size_t num_threads, const RunOptions& options,
                             const std::optional<PathBasis>& basis) {
  EngineOptions engine;
  engine.exchange.path = options.exchange.path;
  engine.exchange.basis = basis;
  if (options.exchange.carrier == CarrierRequest::nccl)
    engine.exchange.device_messages.carriage = DeviceCarriage::nccl;
  engine.verify = options.verify;
  engine.threads = num_threads;
  engine.lanes = parts_of_step(options.overlap);
  return engine;
}

/// What is measured for layers on cores, NCCL does not need.
ExchangeRequest host_exchange(ExchangeRequest request) {
  if (request.carrier != CarrierRequest::nccl) return request;
  request.carrier = CarrierRequest::automatic;
  request.calibrate = Calibrate::off;
  return request;
}

/// Collective. Pinned memory of messages between devices.
std::size_t staging_of(Engine& engine, const Device& device, const DeviceTransportOptions& options) {
  return staging_bytes(
      choose_device_carriage(engine.communicator(), engine.backend(), device, options).carriage, options);
}

/// Collective.
DeviceShare device_share(Engine& engine, const RunOptions& options, const Device& device,
                         std::size_t num_tokens) {
  const Communicator& communicator = engine.communicator();
  DeviceShare share{num_tokens, options.device_mode, !device.is_emulated(),
                    options.layer.capacity.has_value(), options.layer.staging_slots};
  if (options.layer.can_migrate()) share.staging_bytes += staging_of(engine, device, {});
  const bool has_messages =
      communicator.topology().num_nodes() > 1 || options.exchange.path == PathRequest::message;
  if (has_messages && communicator.size() > 1)
    share.staging_bytes += staging_of(engine, device, engine.exchange_options().device_messages);
  return share;
}

/// Collective. What this rank needs, if that can be had.
RunPlan plan_memory(Engine& engine, const RunInputs& inputs, const RunOptions& options,
                    const Device* device) {
  Communicator& communicator = engine.communicator();
  const Rank rank = communicator.rank();
  const Placement placement = inputs.placement(inputs.layers().front(), communicator.size());
  const TokenRange tokens = tokens_of_rank(inputs.tokens().num_tokens(), communicator.size(), rank);
  RunPlan plan =
      device != nullptr
          ? plan_run_on_device(engine, inputs, device_sizes(engine, inputs, options, *device),
                               device_share(engine, options, *device, tokens.count))
          : plan_run(engine, inputs, options.layer, placement.experts_of(rank).size(), tokens.count);
  if (options.timeline) {
    plan.resident.add(timeline_name, LatestRecords::bytes_for(Timeline::room_for(
                                         options.steps, inputs.layers().size(), communicator.size())));
  }
  // Where the system does not tell what it has, nothing is refused.
  const std::size_t on_node = available_memory() == 0 ? SIZE_MAX / 2 : available_memory();
  require_fit(engine, plan,
              {.host = on_node / ranks_on_node(communicator),
               .gpu = device == nullptr ? 0 : share_of_device(communicator, *device),
               .asked_for = options.memory_limit});
  return plan;
}

/// Counted bytes that the run was planned to need on this rank.
std::size_t planned_bytes(const RunPlan& plan, const Engine& engine) {
  return plan.resident.total() + std::max(plan.loading_bytes, engine.planned_bytes());
}

const char* name_of(PathKind kind) {
  switch (kind) {
    case PathKind::local:
      return "local";
    case PathKind::direct:
      return "direct";
    case PathKind::message:
      return "message";
    case PathKind::two_level:
      return "two-level";
  }
  return "";
}

/// Collective: everybody's paths, as a list on rank 0.
std::vector<PairPath> gather_paths(Communicator& communicator, const RunPaths& own) {
  std::string mine;
  for (const PathChoice& choice : own.paths) {
    const bool by_message = choice.kind == PathKind::message || choice.kind == PathKind::two_level;
    mine += fmt::format(
        "{}\t{}\t{}\t{}\n", choice.kind == PathKind::direct ? own.name_of_direct : name_of(choice.kind),
        by_message ? own.carrier : "memory", by_message ? own.carrier_reason : "of the path", choice.reason);
  }
  const auto all = communicator.gather(std::as_bytes(std::span(mine)), Rank{0});
  std::vector<PairPath> pairs;
  std::istringstream lines(std::string(reinterpret_cast<const char*>(all.data()), all.size()));
  for (PairPath pair; std::getline(lines, pair.path, '\t') && std::getline(lines, pair.carrier, '\t') &&
                      std::getline(lines, pair.carrier_reason, '\t') && std::getline(lines, pair.reason);) {
    pair.from = pairs.size() / communicator.size();
    pair.to = pairs.size() % communicator.size();
    pairs.push_back(pair);
  }
  return pairs;
}

/// Collective: element by element, the largest over all ranks.
std::vector<double> slowest(Communicator& communicator, const std::vector<double>& seconds) {
  constexpr double nanoseconds = 1e9;
  std::vector<std::int64_t> ticks;
  for (const double s : seconds) ticks.push_back(static_cast<std::int64_t>(s * nanoseconds));
  communicator.all_reduce({.sums = {}, .minima = {}, .maxima = ticks});
  std::vector<double> result;
  for (const std::int64_t t : ticks) result.push_back(static_cast<double>(t) / nanoseconds);
  return result;
}

void add_totals(Communicator& communicator, const StepLoop& loop, RunResult& result) {
  const StepTotals& totals = loop.totals();
  const RankSums& before = loop.before().sums;
  std::array<std::int64_t, 1> assigned{totals.assigned};
  communicator.all_reduce({.sums = assigned, .minima = {}, .maxima = {}});
  result.assigned = before.assigned + assigned[0];
  result.steps_before = loop.before().num_steps;
  result.computed_before = before.computed;
  result.computed_per_rank = all_gather_values(communicator, totals.computed);
  result.step_times = slowest(communicator, totals.step_times);
  const auto phases = slowest(communicator, {totals.phase_times.begin(), totals.phase_times.end()});
  for (std::size_t p = 0; p < num_phases; ++p)
    result.phase_times[p] = phases[p] / static_cast<double>(totals.step_times.size());
  result.overflow = totals.overflow;
  result.most_rounds = totals.most_rounds;
  result.first_imbalance = totals.first_imbalance;
  result.last_imbalance = totals.last_imbalance;
}

/// Collective.
void add_migration(Communicator& communicator, const StepLoop& loop, RunResult& result) {
  result.migration = loop.rebalanced();
  result.alarms = loop.learnt().alarms();
  result.migration.stall_s = slowest(communicator, {result.migration.stall_s}).front();
}

/// Collective.
void add_waits(Communicator& communicator, const StepTotals& totals, RunResult& result) {
  const double seconds = std::accumulate(result.step_times.begin(), result.step_times.end(), 0.0);
  std::vector<RankWait> mine;
  if (Watch* watch = communicator.waiter().watch()) {
    mine = waits_in_steps(watch->tally(), communicator.rank(), seconds);
  }
  result.waits = gather_waits(communicator, mine);
  result.slow_rank =
      find_slow_rank(result.waits, all_gather_values(communicator, totals.phase_times), seconds);
}

void add_memory(Communicator& communicator, const Engine& engine, const RunPlan& plan, RunResult& result) {
  const auto gather = [&](std::size_t bytes) {
    return all_gather_values(communicator, static_cast<std::int64_t>(bytes));
  };
  result.peak_bytes_per_rank = gather(engine.memory().peak_bytes());
  result.planned_bytes_per_rank = gather(planned_bytes(plan, engine));
  result.process_bytes_per_rank = gather(resident_memory());
  result.limit_bytes_per_rank = gather(engine.memory_limit());
  for (const auto& [name, use] : engine.memory().by_name()) result.peak_bytes_by_name[name] = use.peak_bytes;
}

/// What the run began with, and what it leaves.
void describe_start(const RunOptions& options, RunResult& result) {
  const auto name = [](const auto& path) { return path ? path->string() : std::string(); };
  result.loads = name(options.loads);
  result.placement = options.placement         ? name(options.placement)
                     : options.plans_placement ? fmt::format("planned for {}", result.loads)
                                               : "contiguous";
  result.saved_placement = name(options.save_placement);
  result.saved_loads = name(options.save_loads);
  result.timeline = name(options.timeline);
}

RunResult collect_result(Engine& engine, const RunInputs& inputs, const RunOptions& options,
                         const RunPlan& plan, const RunDevice& device, StepLoop& loop) {
  Communicator& communicator = engine.communicator();
  const LayerSpec& spec = loop.spec();
  RunResult result;
  result.ranks = communicator.size();
  result.nodes = communicator.topology().num_nodes();
  result.isa = instruction_set();
  result.device = device.kind();
  result.device_name = device.device ? device.device->description() : "";
  result.device_reason = device.reason;
  result.device_mode = device.device ? name_of(options.device_mode) : "";
  result.matmul_rows = name_of(device.device ? Matmul::Rows::exact
                                             : loop.layers().all().front().on_cores()->matmul_rows().value());
  result.model = inputs.model().config().name;
  result.dtype = name_of(options.layer.dtype);
  result.combine = name_of(options.layer.combine);
  result.split = options.device_mode == DeviceMode::graph ? "by rank" : name_of(options.layer.split);
  result.overlap = name_of(options.overlap);
  result.lanes = engine.num_lanes();
  result.routing = describe(options.routing);
  result.capacity = describe(options.layer.capacity);
  describe_start(options, result);
  result.rebalance = describe(options.rebalance);
  result.measured = describe_measure(options.rebalance);
  result.tolerance = options.layer.dtype == Dtype::f32 ? f32_tolerance : bf16_tolerance;
  result.tokens = inputs.tokens().num_tokens();
  result.steps = options.steps;
  result.seed = options.seed;
  result.layers = inputs.layers();
  result.threads = engine.threads();
  result.cores = cores_of_rank(communicator);
  result.expert_matmuls = loop.layers().expert_matmuls();
  result.exchange = gather_paths(communicator, loop.layers().paths());
  add_totals(communicator, loop, result);
  add_migration(communicator, loop, result);
  add_waits(communicator, loop.totals(), result);
  constexpr double flops_per_weight = 2;
  const std::size_t matrices = spec.expert.gated ? 3 : 2;
  const auto weights = static_cast<double>(matrices * spec.expert.hidden * spec.expert.intermediate);
  result.expert_flops =
      flops_per_weight * weights * static_cast<double>(result.computed() - result.computed_before);
  add_memory(communicator, engine, plan, result);
  result.verify_level = name_of(options.verify);
  result.reference = loop.before().sums.reference;
  result.reference.add(loop.reference().total(communicator));
  if (communicator.rank() == Rank{0}) result.output_sha256 = loop.digest().finish();
  return result;
}

/// Memory that a limit allows and the machine does not have makes the limit wrong.
Error explain(const std::exception_ptr& failure, const RunOptions& options) {
  const ErrorScope scope = is_shared(failure) ? ErrorScope::shared : ErrorScope::local;
  const ErrorKind kind = kind_of(failure);
  if (kind != ErrorKind::out_of_memory || !options.memory_limit) return {kind, text_of(failure), scope};
  return {ErrorKind::invalid_input,
          text_of(failure) + "; --memory-limit must be at most what the machine has", scope};
}

/// Runs one stage of the job. A shared error leaves it with step and layer in front. A local one ends the job
/// from here, before the engine is taken down under messages that are still in flight.
void guarded(Communicator& communicator, const RunOptions& options, const RunPosition& position,
             const std::function<void()>& stage) {
  try {
    stage();
  } catch (...) {
    const Error failure = explain(std::current_exception(), options);
    const bool shared = failure.scope() == ErrorScope::shared;
    const std::string where = shared ? position.describe_step() : position.describe(communicator.rank());
    const std::string text = where.empty() ? failure.what() : fmt::format("{}: {}", where, failure.what());
    if (!shared) end_mpi_job(failure.kind(), text);
    throw Error(failure.kind(), text, failure.scope());
  }
}

void run_steps(Engine& engine, const RunInputs& inputs, const RunOptions& options, const RunDevice& device,
               RunPosition& position) {
  Communicator& communicator = engine.communicator();
  const RunPlan plan = plan_memory(engine, inputs, options, device.device.get());
  std::optional<AtomicFile> json;  // begun before the work, so that what cannot be written is said now
  together(communicator, [&] {
    if (options.json && communicator.rank() == Rank{0}) json.emplace(*options.json);
  });
  StepLoop loop(engine, inputs, options, device.device.get(), position);
  if (!loop.run()) return;
  position.leave_steps();
  position.enter("report");
  const RunResult result = collect_result(engine, inputs, options, plan, device, loop);
  together(communicator, [&] {
    if (communicator.rank() != Rank{0}) return;
    print_text(to_text(result));
    if (!json) return;
    const std::string text = to_json(result);
    json->append(std::as_bytes(std::span(text)));
    json->commit();
  });
  loop.forget_kept();
  if (!result.passed()) {
    throw Error(ErrorKind::verification, "verification failed: " + result.failures(), ErrorScope::shared);
  }
}

}  // namespace

void run_rank(Communicator& communicator, const Backend& backend, const RunOptions& options) {
  RunPosition position(communicator.waiter().watch());
  std::optional<RunInputs> inputs;
  RunDevice device;
  std::optional<Engine> engine;
  guarded(communicator, options, position, [&] {
    std::size_t num_threads = 0;
    together(communicator, [&] { num_threads = threads_of_rank(communicator, options.threads); });
    inputs.emplace(communicator, options, num_threads);
    device = choose_run_device(communicator, options);
    position.enter("loading");
    const ExchangeChoice exchange = choose_exchange(
        communicator.topology(), calibrate(communicator, backend, host_exchange(options.exchange)),
        expected_traffic(*inputs, options.layer, communicator.size()));
    engine.emplace(communicator, exchange.backend, engine_options(num_threads, options, exchange.basis));
  });
  guarded(communicator, options, position, [&] { run_steps(*engine, *inputs, options, device, position); });
}

}  // namespace moewe
