#include "launch/bench_overlap.hpp"

#include <algorithm>
#include <bit>

#include "benchmarks/exchange/own_exchange.hpp"
#include "comm/together.hpp"
#include "launch/bench_rows.hpp"
#include "launch/cores.hpp"
#include "launch/exchange_choice.hpp"
#include "launch/options.hpp"
#include "launch/overlap_mode.hpp"
#include "launch/routing_source.hpp"
#include "launch/run_choices.hpp"
#include "launch/token_range.hpp"
#include "runtime/generated_weights.hpp"

namespace moewe {
namespace {

/// This rank's part of a case.
struct OverlapInput {
  std::vector<std::byte> rows;
  std::vector<ExpertId> experts;
  std::vector<float> weights;
  Routing routing;
  bool is_forced = false;

  const Routing* forced() const { return is_forced ? &routing : nullptr; }
};

/// Local.
OverlapInput make_input(const Communicator& communicator, const OverlapBenchOptions& options,
                        std::size_t tokens_per_rank) {
  const std::size_t num_tokens = tokens_per_rank * communicator.size();
  const TokenRange tokens = tokens_of_rank(num_tokens, communicator.size(), communicator.rank());
  const LayerSpec& spec = options.model.layer;
  const std::size_t layer = options.model.moe_layers.front();
  OverlapInput input;
  input.rows =
      bench_rows(GeneratedTokens(options.seed, num_tokens, spec.expert.hidden), tokens, spec, options.dtype);
  RunOptions run;
  run.routing = parse_routing(options.routing);
  run.seed = options.seed;
  const auto routing = open_routing(run, options.model, {layer});
  if (!routing) return input;
  input.experts.resize(tokens.count * spec.router.top_k);
  input.weights.resize(input.experts.size());
  routing->read(layer, 0, num_tokens, tokens, input.experts, input.weights);
  input.routing = {tokens.count, spec.router.top_k, input.experts, input.weights, {}};
  input.is_forced = true;
  return input;
}

/// Of as many tokens as count.
ExpectedTraffic expected_traffic(const OverlapBenchOptions& options) {
  const LayerSpec& spec = options.model.layer;
  return {spec.num_experts, spec.router.top_k, RowFormat{spec.expert.hidden, options.dtype}.bytes(),
          LayerOptions{}.combine, 0};
}

EngineOptions engine_options(std::size_t num_threads, const OverlapBenchOptions& options,
                             const std::optional<PathBasis>& basis) {
  EngineOptions engine;
  engine.exchange.path = options.exchange.path;
  engine.exchange.basis = basis;
  engine.threads = num_threads;
  engine.lanes = parts_of_step(OverlapMode::half);
  return engine;
}

/// The layer with and without overlap, on one engine.
class OverlapLayers {
 public:
  /// Collective. The options outlive this.
  OverlapLayers(Communicator& communicator, const ExchangeChoice& exchange,
                const OverlapBenchOptions& options, std::size_t num_threads)
      : options_(options),
        engine_(communicator, exchange.backend, engine_options(num_threads, options, exchange.basis)),
        source_(options.model.layer, options.seed, options.model.moe_layers.front(), num_threads),
        with_(make_layer(true)),
        without_(make_layer(false)) {}

  /// Collective: one step. `input` is left as it is.
  bench::RoundTrip run(OverlapMode mode, const OverlapInput& input, std::span<float> y) {
    MoeLayer& layer = mode == OverlapMode::off ? without_ : with_;
    const StepOutcome outcome = run_step(layer, mode, {input.rows, options_.dtype}, input.forced(), y);
    return bench::round_trip_of(outcome.seconds, outcome.report);
  }

 private:
  MoeLayer make_layer(bool overlap) {
    LayerOptions layer;
    layer.dtype = options_.dtype;
    layer.overlap = overlap;
    const LayerSpec& spec = options_.model.layer;
    return MoeLayer(engine_, spec, contiguous_placement(spec.num_experts, engine_.communicator().size()),
                    source_, layer);
  }

  const OverlapBenchOptions& options_;
  Engine engine_;
  GeneratedWeights source_;
  MoeLayer with_;
  MoeLayer without_;
};

/// Values whose bits differ.
std::size_t count_different(std::span<const float> a, std::span<const float> b) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::bit_cast<std::uint32_t>(a[i]) != std::bit_cast<std::uint32_t>(b[i])) ++count;
  }
  return count;
}

/// Collective. Results are compared with what comes of doing one thing after the other.
std::vector<bench::ContestResult> contest(Communicator& communicator, OverlapLayers& layers,
                                          const OverlapInput& input, const OverlapBenchOptions& options) {
  std::vector<float> expected(input.rows.size() / bytes_of(options.dtype));
  layers.run(OverlapMode::off, input, expected);
  const bench::ContestCheck check{expected.size(),
                                  [&](std::span<const float> y) { return count_different(y, expected); }};
  std::vector<bench::RoundContestant> contestants;
  for (const auto& [name, mode] :
       std::vector<std::pair<const char*, OverlapMode>>{{"off", OverlapMode::off},
                                                        {"shared", OverlapMode::shared},
                                                        {"half", OverlapMode::half},
                                                        {"off again", OverlapMode::off}}) {
    contestants.push_back(
        {name, [&, mode = mode](std::span<float> y) { return layers.run(mode, input, y); }});
  }
  bench::ContestPace pace;
  pace.seconds = options.seconds;
  return bench::run_contest(communicator, contestants, check, pace);
}

}  // namespace

bool OverlapCase::is_correct() const {
  return std::all_of(contestants.begin(), contestants.end(),
                     [](const bench::ContestResult& contestant) { return contestant.is_correct; });
}

std::vector<OverlapCase> run_overlap_cases(Communicator& communicator, const Backend& backend,
                                           const OverlapBenchOptions& options,
                                           const std::function<void(const OverlapCase&)>& on_result) {
  const ExchangeChoice exchange = choose_exchange(
      communicator.topology(), calibrate(communicator, backend, options.exchange), expected_traffic(options));
  std::size_t num_threads = 0;
  together(communicator, [&] { num_threads = threads_of_rank(communicator, options.threads); });
  OverlapLayers layers(communicator, exchange, options, num_threads);
  bench::StateProbe probe(communicator, exchange.backend);
  std::vector<OverlapCase> results;
  for (const std::size_t tokens : options.tokens_per_rank) {
    OverlapInput input;
    together(communicator, [&] { input = make_input(communicator, options, tokens); });
    OverlapCase result{.tokens_per_rank = tokens,
                       .model = options.model.name,
                       .layer = options.model.layer,
                       .ranks = communicator.size(),
                       .nodes = communicator.topology().num_nodes(),
                       .threads = num_threads,
                       .dtype = name_of(options.dtype),
                       .routing = options.routing,
                       .path = name_of(options.exchange.path),
                       .carrier = exchange.backend.carrier,
                       .before = probe.measure(),
                       .after = {},
                       .contestants = contest(communicator, layers, input, options)};
    result.after = probe.measure();
    results.push_back(std::move(result));
    together(communicator, [&] {
      if (communicator.rank() == Rank{0}) on_result(results.back());
    });
  }
  communicator.barrier();  // nobody leaves under the others' messages
  return results;
}

}  // namespace moewe
