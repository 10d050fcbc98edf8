#include <algorithm>
#include <chrono>
#include <cstring>
#include <fmt/format.h>
#include <memory>

#include "benchmarks/command_line.hpp"
#include "benchmarks/cores.hpp"
#include "benchmarks/harness.hpp"
#include "benchmarks/mpi_program.hpp"
#include "benchmarks/program.hpp"
#include "benchmarks/results_file.hpp"
#include "comm/error.hpp"
#include "runtime/kernels/elementwise.hpp"
#include "runtime/moe_layer.hpp"
#include "tests/support/generated_model.hpp"

namespace moewe::bench {
namespace {

namespace po = boost::program_options;

constexpr const char* program = "verify_benchmark";

struct Options {
  LayerSpec spec;
  std::vector<Dtype> dtypes;
  PathRequest path = PathRequest::automatic;
  Combine combine = Combine::reproducible;
  Clock clock = Clock::wall;
  std::size_t tokens = 0;  ///< of each rank
  std::size_t iterations = 0;
  std::size_t ranks = 0;  ///< that are threads of this process
  ResultsFile json;
};

po::options_description describe_options() {
  po::options_description options(
      "verify_benchmark: whole steps of a layer at each level of verification, against those without any.\n"
      "Start it with mpirun and ranks bound to cores, or alone with --ranks.\n\nOptions");
  auto add = options.add_options();
  add("ranks", text_option("N", "2"), "ranks that are threads, each pinned; without a launcher");
  add("tokens", text_option("N", "512"), "tokens of each rank");
  add("hidden", text_option("N", "1024"), "hidden size");
  add("intermediate", text_option("N", "1024"), "intermediate size");
  add("experts", text_option("N", "8"), "experts of the layer");
  add("topk", text_option("N", "2"), "experts of each token");
  add("dtypes", text_option("LIST", "f32,bf16"), "of weights and rows");
  add("path", text_option("PATH", "auto"), "auto or message");
  add("combine", text_option("HOW", "reproducible"), "reproducible or fast");
  add("clock", text_option("CLOCK", "wall"),
      "wall; or cpu, of each process, where others want the cores too");
  add("iterations", text_option("N", "60"), "steps at each level");
  return options;
}

/// One of two.
bool is_second(const CommandLine& line, const char* name, const std::string& first,
               const std::string& second) {
  const std::string text = line.text(name);
  if (text != first && text != second)
    throw InvalidInput(fmt::format("--{} must be {} or {}, not '{}'", name, first, second, text));
  return text == second;
}

Options parse(const CommandLine& line) {
  Options options;
  options.spec.expert = {.hidden = line.number("hidden", 1, 65536),
                         .intermediate = line.number("intermediate", 1, 65536)};
  options.spec.num_experts = line.number("experts", 1, 4096);
  options.spec.router.top_k = line.number("topk", 1, options.spec.num_experts);
  options.tokens = line.number("tokens", 1, 1U << 20U);
  options.iterations = line.number("iterations", 1, 100000);
  options.dtypes = line.dtypes("dtypes");
  if (is_second(line, "path", "auto", "message")) options.path = PathRequest::message;
  if (is_second(line, "combine", "reproducible", "fast")) options.combine = Combine::fast;
  if (is_second(line, "clock", "wall", "cpu")) options.clock = Clock::cpu;
  options.ranks = line.number("ranks", 1, 1024);
  options.json = line.results_file();
  return options;
}

/// One level, with an engine and a layer of its own.
class Level {
 public:
  Level(Communicator& communicator, const Backend& backend, const Options& options, Dtype dtype,
        VerifyLevel verify)
      : communicator_(communicator.child()),
        dtype_(dtype),
        clock_(options.clock),
        x_(test::random_floats(options.tokens * options.spec.expert.hidden,
                               100 + index(communicator.rank()))),
        half_(x_.size()),
        engine_(communicator, backend, engine_options(options, verify)),
        layer_(engine_, options.spec, contiguous_placement(options.spec.num_experts, communicator.size()),
               test::GeneratedWeights(options.spec, 1),
               {.dtype = dtype, .combine = options.combine, .capacity = {}, .chunk_bytes = 0}),
        y(x_.size()) {
    round_to_bf16(x_, half_);
  }

  /// The slowest rank's seconds for a step.
  double time_step() {
    communicator_->barrier();
    const double mine = seconds_of(
        [&] { layer_.forward(dtype_ == Dtype::f32 ? TokenRows(x_) : TokenRows(half_), y); }, clock_);
    const std::vector<double> all = all_gather_values(*communicator_, mine);
    return *std::max_element(all.begin(), all.end());
  }

 private:
  static EngineOptions engine_options(const Options& options, VerifyLevel verify) {
    EngineOptions engine;
    engine.verify = verify;
    engine.exchange.path = options.path;
    return engine;
  }

  std::unique_ptr<Communicator> communicator_;
  Dtype dtype_;
  Clock clock_;
  std::vector<float> x_;
  std::vector<Bf16> half_;
  Engine engine_;
  MoeLayer layer_;

 public:
  std::vector<float> y;  ///< of the last step
};

/// The first is what the others are compared with, the second how much that says.
constexpr std::pair<const char*, VerifyLevel> levels[] = {{"off", VerifyLevel::off},
                                                          {"off again", VerifyLevel::off},
                                                          {"ledger", VerifyLevel::ledger},
                                                          {"audit", VerifyLevel::audit}};

Json print(const std::vector<std::vector<double>>& times) {
  const Table table({{"level", 10, false}, {"ms", 9}, {"ratio", 6}, {"p10-p90", 12}, {"of least", 8}});
  Json results = Json::array();
  for (std::size_t i = 0; i < times.size(); ++i) {
    const Spread time = spread_of(times[i]);
    const Spread ratio = spread_of(ratios(times[i], times[0]));
    table.print(std::vector<std::string>{levels[i].first, fmt::format("{:.3f}", time.median * 1e3),
                                         fmt::format("{:.3f}", ratio.median),
                                         fmt::format("{:.3f}-{:.3f}", ratio.p10, ratio.p90),
                                         fmt::format("{:.3f}", time.least / spread_of(times[0]).least)});
    results.push_back({{"level", levels[i].first}, {"seconds", to_json(time)}, {"ratio", to_json(ratio)}});
  }
  return results;
}

/// Collective.
std::vector<std::vector<double>> measure(Communicator& communicator, const Backend& backend,
                                         const Options& options, Dtype dtype) {
  std::vector<std::unique_ptr<Level>> all;
  std::vector<Contestant> contestants;
  for (const auto& [name, verify] : levels) {
    all.push_back(std::make_unique<Level>(communicator, backend, options, dtype, verify));
    contestants.push_back({name, [level = all.back().get()] { return level->time_step(); }});
  }
  auto times = alternate(
      contestants, {.least_rounds = options.iterations, .most_rounds = options.iterations, .seconds = 0});
  for (const auto& level : all) {
    if (std::memcmp(level->y.data(), all[0]->y.data(), level->y.size() * sizeof(float)) != 0)
      throw Error(ErrorKind::verification, "a level of verification changed the bits of an output");
  }
  return times;
}

void run_rank(Communicator& communicator, const Backend& backend, const Options& options, Json& results) {
  for (const Dtype dtype : options.dtypes) {
    const auto times = measure(communicator, backend, options, dtype);
    if (communicator.rank() != Rank{0}) continue;
    fmt::print("\n{} ranks ({}), {} tokens each, top {} of {} experts {} x {}, {}\n\n", communicator.size(),
               backend.carrier, options.tokens, options.spec.router.top_k, options.spec.num_experts,
               options.spec.expert.hidden, options.spec.expert.intermediate, name_of(dtype));
    results.push_back({{"dtype", name_of(dtype)}, {"levels", print(times)}});
  }
}

int run(const CommandLine& line) {
  Options options = parse(line);
  Json results = Json::array();
  run_pinned_ranks(program, options.ranks, 1, [&](Communicator& communicator, const Backend& backend) {
    run_rank(communicator, backend, options, results);
  });
  options.json.write({{"results", results}});
  return 0;
}

}  // namespace
}  // namespace moewe::bench

int main(int argc, char** argv) {
  return moewe::bench::run_program(moewe::bench::program, argc, argv, moewe::bench::describe_options(),
                                   moewe::bench::run);
}
