#include "launch/collect_result.hpp"

#include <array>
#include <fmt/format.h>
#include <numeric>

#include "launch/available_memory.hpp"
#include "launch/cores.hpp"
#include "launch/run_choices.hpp"
#include "launch/run_memory.hpp"

namespace moewe {
namespace {

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

void describe_machine(const EndedRun& run, RunResult& result) {
  const Communicator& communicator = run.engine.communicator();
  const Device* device = run.device.device.get();
  result.ranks = communicator.size();
  result.nodes = communicator.topology().num_nodes();
  result.isa = instruction_set();
  result.device = run.device.kind();
  result.device_name = device != nullptr ? device->description() : "";
  result.device_reason = run.device.reason;
  result.device_mode = device != nullptr ? name_of(run.options.device_mode) : "";
  result.threads = run.engine.threads();
  result.cores = cores_of_rank(communicator);
}

/// As it would be typed, for the most part.
void describe_layers(const EndedRun& run, RunResult& result) {
  const RunOptions& options = run.options;
  result.model = run.inputs.model().config().name;
  result.dtype = name_of(options.layer.dtype);
  result.combine = name_of(options.layer.combine);
  result.split = options.device_mode == DeviceMode::graph ? "by rank" : name_of(options.layer.split);
  result.overlap = name_of(options.overlap);
  result.lanes = run.engine.num_lanes();
  result.routing = describe(options.routing);
  result.capacity = describe(options.layer.capacity);
  result.rebalance = describe(options.rebalance);
  result.measured = describe_measure(options.rebalance);
  result.tolerance = options.layer.dtype == Dtype::f32 ? f32_tolerance : bf16_tolerance;
  result.verify_level = name_of(options.verify);
  result.tokens = run.inputs.tokens().num_tokens();
  result.steps = options.steps;
  result.seed = options.seed;
  result.layers = run.inputs.layers();
  const RunLayers& layers = run.loop.layers();
  result.matmul_rows = name_of(run.device.device ? Matmul::Rows::exact
                                                 : layers.all().front().on_cores()->matmul_rows().value());
  result.expert_matmuls = layers.expert_matmuls();
}

/// What the run began with, and what it leaves.
void describe_files(const RunOptions& options, RunResult& result) {
  const auto name = [](const auto& path) { return path ? path->string() : std::string(); };
  result.loads = name(options.loads);
  result.placement = options.placement         ? name(options.placement)
                     : options.plans_placement ? fmt::format("planned for {}", result.loads)
                                               : "contiguous";
  result.saved_placement = name(options.save_placement);
  result.saved_loads = name(options.save_loads);
  result.timeline = name(options.timeline);
}

/// Collective.
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
  result.overflow = totals.agreed.overflow;
  result.most_rounds = totals.agreed.most_rounds;
  result.first_imbalance = totals.agreed.first_imbalance;
  result.last_imbalance = totals.last_imbalance;
}

/// Of the steps that have times.
double expert_flops(const ExpertShape& expert, std::int64_t num_computed) {
  constexpr double flops_per_weight = 2;
  const std::size_t matrices = expert.gated ? 3 : 2;
  const auto weights = static_cast<double>(matrices * expert.hidden * expert.intermediate);
  return flops_per_weight * weights * static_cast<double>(num_computed);
}

/// Collective.
void add_migration(Communicator& communicator, const StepLoop& loop, RunResult& result) {
  result.migration = loop.rebalanced();
  result.alarms = loop.learnt().alarms();
  result.migration.stall_s = slowest(communicator, {result.migration.stall_s}).front();
}

/// Collective. Of the steps whose times the result has already.
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

/// Collective.
void add_memory(const EndedRun& run, RunResult& result) {
  const Engine& engine = run.engine;
  const auto gather = [&](std::size_t bytes) {
    return all_gather_values(run.engine.communicator(), static_cast<std::int64_t>(bytes));
  };
  result.peak_bytes_per_rank = gather(engine.memory().peak_bytes());
  result.planned_bytes_per_rank = gather(planned_bytes(run.plan, engine));
  result.process_bytes_per_rank = gather(resident_memory());
  result.limit_bytes_per_rank = gather(engine.memory_limit());
  for (const auto& [name, use] : engine.memory().by_name()) result.peak_bytes_by_name[name] = use.peak_bytes;
}

/// Collective.
void add_verification(Communicator& communicator, StepLoop& loop, RunResult& result) {
  result.reference = loop.before().sums.reference;
  result.reference.add(loop.reference().total(communicator));
  if (communicator.rank() == Rank{0}) result.output_sha256 = loop.digest().finish();
}

}  // namespace

RunResult collect_result(const EndedRun& run) {
  Communicator& communicator = run.engine.communicator();
  RunResult result;
  describe_machine(run, result);
  describe_layers(run, result);
  describe_files(run.options, result);
  result.exchange = gather_paths(communicator, run.loop.layers().paths());
  add_totals(communicator, run.loop, result);
  result.expert_flops = expert_flops(run.inputs.spec().expert, result.computed() - result.computed_before);
  add_migration(communicator, run.loop, result);
  add_waits(communicator, run.loop.totals(), result);
  add_memory(run, result);
  add_verification(communicator, run.loop, result);
  return result;
}

}  // namespace moewe
