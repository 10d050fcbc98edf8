#include <chrono>
#include <cstdio>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "benchmarks/command_line.hpp"
#include "benchmarks/cores.hpp"
#include "benchmarks/harness.hpp"
#include "benchmarks/launched.hpp"
#include "benchmarks/layer_comparison.hpp"
#include "benchmarks/mpi_program.hpp"
#include "benchmarks/program.hpp"
#include "benchmarks/results_file.hpp"
#include "comm/error.hpp"
#include "tests/support/generated_model.hpp"

namespace moewe::bench {
namespace {

namespace po = boost::program_options;

constexpr const char* program = "layer_benchmark";
constexpr double wanted_ratio = 1.25;

struct Options {
  LayerCase layer;
  std::vector<Dtype> dtypes;
  std::size_t ranks = 0;  ///< that are threads of this process
  ResultsFile json;
};

po::options_description describe_options() {
  po::options_description options(
      "layer_benchmark: whole steps of a layer against the matmuls alone of the rank that has most rows.\n"
      "Start it with mpirun and ranks bound to cores, or alone with --ranks.\n\nOptions");
  auto add = options.add_options();
  add("ranks", po::value<std::string>()->value_name("N"),
      "ranks that are threads, each pinned; 2 if not given");
  add("threads", text_option("N", "1"), "threads of each rank");
  add("tokens", text_option("N", "512"), "tokens of each rank");
  add("hidden", text_option("N", "1024"), "hidden size");
  add("intermediate", text_option("N", "1024"), "intermediate size");
  add("experts", text_option("N", "8"), "experts of the layer");
  add("topk", text_option("N", "2"), "experts of each token");
  add("dtypes", text_option("LIST", "f32,bf16"), "of weights and rows");
  add("iterations", text_option("N", "60"), "steps, and runs of each contestant");
  return options;
}

Options parse(const CommandLine& line) {
  Options options;
  LayerCase& layer = options.layer;
  layer.spec.expert = {.hidden = line.number("hidden", 1, 65536),
                       .intermediate = line.number("intermediate", 1, 65536)};
  layer.spec.num_experts = line.number("experts", 1, 4096);
  layer.spec.router.top_k = line.number("topk", 1, layer.spec.num_experts);
  layer.tokens_per_rank = line.number("tokens", 1, 1U << 20U);
  layer.threads = line.number("threads", 1, 1024);
  layer.iterations = line.number("iterations", 1, 100000);
  options.dtypes = line.dtypes("dtypes");
  if (started_by_launcher() && line.has("ranks")) {
    throw InvalidInput("--ranks is for threads of one process; the launcher has set the number of ranks");
  }
  options.ranks = line.has("ranks") ? line.number("ranks", 1, 1024) : 2;
  options.json = line.results_file();
  return options;
}

Json result_of(const LayerComparison& comparison, Dtype dtype) {
  Json result{{"dtype", name_of(dtype)},
              {"rows_per_rank", comparison.rows_per_rank()},
              {"busier_rank", comparison.busier_rank()},
              {"busier_matmul_flops", comparison.busier_flops()},
              {"step_s", to_json(comparison.step())},
              {"step_against_itself", to_json(comparison.step_again())},
              {"own_experts_s", to_json(comparison.own_experts())},
              {"wanted_ratio", wanted_ratio},
              {"ratio", comparison.ratio(comparison.fastest()).median}};
  for (std::size_t way = 0; way < comparison.num_ways(); ++way) {
    result["bare"].push_back({{"name", comparison.way_name(way)},
                              {"fastest", way == comparison.fastest()},
                              {"bare_s", to_json(comparison.bare(way))},
                              {"ratio", to_json(comparison.ratio(way))},
                              {"ratio_to_slowest_rank", to_json(comparison.ratio_to_slowest(way))}});
  }
  for (std::size_t phase = 0; phase < num_phases; ++phase) {
    result["phases_s"][phase_names[phase]] = comparison.phase_seconds(phase);
  }
  return result;
}

std::string milliseconds(double seconds) { return fmt::format("{:.3f}", seconds * 1e3); }
std::string range(const Spread& spread) { return fmt::format("{:.2f}-{:.2f}", spread.p10, spread.p90); }

void print_ratios(const LayerComparison& comparison) {
  const Table table({{"bare matmuls of the busier rank", 31, false},
                     {"ms", 9},
                     {"step ms", 9},
                     {"ratio", 6},
                     {"p10-p90", 11},
                     {"of best", 7},
                     {"of slowest", 10},
                     {"A/A p10-p90", 11},
                     {"", 11, false}});
  const Spread step = comparison.step();
  for (std::size_t way = 0; way < comparison.num_ways(); ++way) {
    const bool is_fastest = way == comparison.fastest();
    const Spread ratio = comparison.ratio(way);
    const Spread bare = comparison.bare(way);
    table.print(std::vector<std::string>{
        comparison.way_name(way) + (is_fastest ? " *" : ""), milliseconds(bare.median),
        milliseconds(step.median), fmt::format("{:.3f}", ratio.median), range(ratio),
        fmt::format("{:.3f}", step.least / bare.least),
        fmt::format("{:.3f}", comparison.ratio_to_slowest(way).median), range(comparison.step_again()),
        is_fastest && ratio.median > wanted_ratio ? fmt::format("more than {}", wanted_ratio) : ""});
  }
}

void print_phases(const LayerComparison& comparison) {
  fmt::print("\nwhere a step's time goes on its slowest rank:\n");
  const Table table({{"phase", 31, false}, {"ms", 9}, {"share", 6}});
  const double step = comparison.step().median;
  const auto print = [&](const std::string& name, double seconds) {
    table.print(
        std::vector<std::string>{name, milliseconds(seconds), fmt::format("{:.1f}%", 100 * seconds / step)});
  };
  double rest = step;
  for (std::size_t phase = 0; phase < num_phases; ++phase) {
    print(phase_names[phase], comparison.phase_seconds(phase));
    rest -= comparison.phase_seconds(phase);
  }
  print("(rest of the median step)", rest);
  print("(expert compute alone)", comparison.own_experts().median);
  fmt::print("\n");
}

/// One rank's part.
void run_rank(Communicator& communicator, const Backend& backend, const Options& options, Json& results) {
  const LayerSpec& spec = options.layer.spec;
  const bool is_first = communicator.rank() == Rank{0};
  const KeptWeights weights(spec, test::GeneratedWeights(spec, 1));
  for (const Dtype dtype : options.dtypes) {
    LayerCase layer = options.layer;
    layer.dtype = dtype;
    LayerComparison comparison(communicator, backend, layer, weights);
    comparison.run();
    if (!is_first) continue;
    fmt::print("{} ranks ({}), {} thread(s) each, {} tokens each, top {} of {} experts {} x {}, {}, {}\n",
               communicator.size(), backend.carrier, layer.threads, layer.tokens_per_rank, spec.router.top_k,
               spec.num_experts, spec.expert.hidden, spec.expert.intermediate, name_of(dtype),
               instruction_set());
    fmt::print("rows per rank: {}; ratio = step of the slowest rank / bare matmuls, * the fastest\n\n",
               fmt::join(comparison.rows_per_rank(), ", "));
    print_ratios(comparison);
    print_phases(comparison);
    results.push_back(result_of(comparison, dtype));
  }
}

int run(const CommandLine& line) {
  Options options = parse(line);
  Json results = Json::array();
  run_pinned_ranks(program, options.ranks, options.layer.threads,
                   [&](Communicator& communicator, const Backend& backend) {
                     run_rank(communicator, backend, options, results);
                   });
  options.json.write({{"isa", instruction_set()}, {"results", results}});
  return 0;
}

}  // namespace
}  // namespace moewe::bench

int main(int argc, char** argv) {
  return moewe::bench::run_program(moewe::bench::program, argc, argv, moewe::bench::describe_options(),
                                   moewe::bench::run);
}
