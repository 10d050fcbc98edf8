#include "launch/run_rank.hpp"

#include <fmt/format.h>
#include <functional>
#include <optional>
#include <string>

#include "comm/together.hpp"
#include "launch/collect_result.hpp"
#include "launch/commit_text.hpp"
#include "launch/console.hpp"
#include "launch/cores.hpp"
#include "launch/environment.hpp"
#include "launch/exchange_choice.hpp"
#include "launch/run_device.hpp"
#include "launch/run_memory.hpp"
#include "launch/run_position.hpp"
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

/// Collective. Text and JSON, from rank 0.
void tell(Communicator& communicator, const RunResult& result, std::optional<AtomicFile>& json) {
  together(communicator, [&] {
    if (communicator.rank() != Rank{0}) return;
    print_text(to_text(result));
    if (json) commit_text(*json, to_json(result));
  });
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
  const RunResult result = collect_result({engine, inputs, options, device, plan, loop});
  tell(communicator, result, json);
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
