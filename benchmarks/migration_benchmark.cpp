#include <cstdio>
#include <fmt/format.h>

#include "benchmarks/command_line.hpp"
#include "benchmarks/harness.hpp"
#include "benchmarks/migration/gain.hpp"
#include "benchmarks/migration/stall.hpp"
#include "benchmarks/mpi_program.hpp"
#include "benchmarks/program.hpp"
#include "benchmarks/results_file.hpp"
#include "comm/error.hpp"
#include "launch/run_choices.hpp"

namespace moewe::bench {
namespace {

namespace po = boost::program_options;

constexpr const char* program = "migration_benchmark";

struct Options {
  MigrationCase migration;
  bool measures_stall = false;
  bool measures_gain = false;
  std::size_t link = 0;   ///< bytes in a second that leave a node; 0: not told
  std::size_t ranks = 0;  ///< that are threads of this process
  ResultsFile json;
};

po::options_description describe_options() {
  po::options_description options(
      "migration_benchmark: the time of a step while experts migrate against that of one in which they rest\n"
      "(stall), and of one with skewed loads, with and without moves, against even loads (gain). Start it\n"
      "with mpirun, or alone with --ranks.\n\nOptions");
  auto add = options.add_options();
  add("parts", text_option("LIST", "stall,gain"), "stall, gain");
  add("ranks", text_option("N", "2"), "ranks that are threads, each pinned; without a launcher");
  add("tokens-per-rank", text_option("N", "512"), "tokens of each rank");
  add("hidden", text_option("N", "1024"), "hidden size");
  add("intermediate", text_option("N", "1024"), "intermediate size");
  add("experts", text_option("N", "32"), "experts of the layer");
  add("topk", text_option("N", "2"), "experts of each token");
  add("dtype", text_option("NAME", "f32"), "of weights and rows: f32, bf16");
  add("path", text_option("PATH", "auto"), "auto, direct, message, two-level");
  add("budgets", text_option("LIST", "1048576"),
      "bytes that a rank may send in a step, or auto; the first for the gain");
  add("pairs", text_option("N", "20"), "runs of each contestant");
  add("steps-per-run", text_option("N", "40"), "steps of a run");
  add("settle-steps", text_option("N", "50"), "gain: of each contestant, before any is counted");
  add("sigma-percent", text_option("N", "80"), "gain: of the lognormal loads, in hundredths");
  add("spare-slots", text_option("N", "1"), "gain: of each rank for copies, where experts may move");
  add("link", text_option("N", "0"),
      "bytes in a second that leave a node: says how much of them budgets are");
  add("seed", text_option("N", "1"), "gain: of loads and choices");
  return options;
}

Dtype parse_dtype(const CommandLine& line) {
  const std::vector<Dtype> dtypes = line.dtypes("dtype");
  if (dtypes.size() != 1) throw InvalidInput("--dtype takes one of f32 and bf16");
  return dtypes.front();
}

MigrationCase parse_case(const CommandLine& line) {
  constexpr std::size_t most_budget = ChunkCarrier::window * ChunkCarrier::most_payload;
  MigrationCase c;
  c.spec.expert = {.hidden = line.number("hidden", 1, 65536),
                   .intermediate = line.number("intermediate", 1, 65536)};
  c.spec.num_experts = line.number("experts", 1, 4096);
  c.spec.router.top_k = line.number("topk", 1, c.spec.num_experts);
  c.dtype = parse_dtype(line);
  c.path = parse_choice("path", line.text("path"), path_choices);
  c.tokens_per_rank = line.number("tokens-per-rank", 1, 1U << 20U);
  c.pairs = line.number("pairs", 1, 100000);
  c.steps = line.number("steps-per-run", 1, 100000);
  c.settle_steps = line.number("settle-steps", 5, 100000);
  for (const std::string& part : line.parts("budgets"))
    c.budgets.push_back(part == "auto" ? 0 : parse_number(part, "each of --budgets", 4096, most_budget));
  c.sigma = static_cast<double>(line.number("sigma-percent", 1, 1000)) / 100;
  c.spares = line.number("spare-slots", 0, c.spec.num_experts);
  c.seed = line.number("seed", 0, 1U << 30U);
  return c;
}

Options parse(const CommandLine& line) {
  Options options;
  options.migration = parse_case(line);
  for (const std::string& part : line.parts("parts")) {
    if (part != "stall" && part != "gain")
      throw InvalidInput(fmt::format("--parts takes stall and gain, not '{}'", part));
    (part == "stall" ? options.measures_stall : options.measures_gain) = true;
  }
  options.link = line.number("link", 0, std::size_t{1} << 40U);
  options.ranks = line.number("ranks", 1, 1024);
  options.json = line.results_file();
  return options;
}

std::string milliseconds(double seconds) { return fmt::format("{:.3f}", seconds * 1e3); }
std::string range(const Spread& spread) { return fmt::format("{:.3f}-{:.3f}", spread.p10, spread.p90); }
std::string millisecond_range(const Spread& spread) {
  return fmt::format("{:.3f}-{:.3f}", 1e3 * spread.p10, 1e3 * spread.p90);
}
std::string percent(double share) { return fmt::format("{:.2f}%", 100 * share); }

/// Of what a node's link carries in a step, by what its ranks may send of weights.
double link_share(std::size_t budget, double step_s, const Options& options, const Topology& topology) {
  if (options.link == 0) return 0;
  const std::size_t sent = budget * topology.node_ranks(Rank{0}).size();
  return static_cast<double>(sent) / (step_s * static_cast<double>(options.link));
}

Json print_stall(const StallContest& contest, const Options& options, const Topology& topology) {
  const Table table({{"steps", 33, false},
                     {"median ms", 9},
                     {"p90 ms", 9},
                     {"ratio", 6},
                     {"p10-p90", 11},
                     {"of median", 9},
                     {"moves", 6},
                     {"MiB", 7},
                     {"KiB per step", 12},
                     {"of link", 7},
                     {"sending", 7},
                     {"ms per MiB", 10},
                     {"p10-p90", 11}});
  const std::vector<StallContest::Result> all = contest.results();
  Json results = Json::array();
  for (const StallContest::Result& result : all) {
    const double of_link = link_share(result.budget, all.front().median_s.median, options, topology);
    table.print(std::vector<std::string>{
        result.name, milliseconds(result.median_s.median), milliseconds(result.p90_s.median),
        fmt::format("{:.3f}", result.p90_ratio.median), range(result.p90_ratio),
        fmt::format("{:.3f}", result.median_ratio.median), fmt::format("{}", result.moves),
        fmt::format("{:.1f}", static_cast<double>(result.bytes) / 0x1p20),
        fmt::format("{:.1f}", result.bytes_per_step / 0x1p10), percent(of_link),
        percent(result.progress_share), milliseconds(result.mebibyte_s.median),
        millisecond_range(result.mebibyte_s)});
    results.push_back({{"name", result.name},
                       {"budget", result.budget},
                       {"median_s", to_json(result.median_s)},
                       {"p90_s", to_json(result.p90_s)},
                       {"p90_ratio", to_json(result.p90_ratio)},
                       {"median_ratio", to_json(result.median_ratio)},
                       {"moves", result.moves},
                       {"bytes", result.bytes},
                       {"bytes_per_rank_and_step", result.bytes_per_step},
                       {"link_share", of_link},
                       {"progress_share", result.progress_share},
                       {"mebibyte_s", to_json(result.mebibyte_s)}});
  }
  return results;
}

Json print_gain(const GainContest& contest) {
  const Table table({{"loads", 20, false},
                     {"median ms", 9},
                     {"ratio", 6},
                     {"p10-p90", 11},
                     {"imbalance", 9},
                     {"first moves", 11},
                     {"moves", 6},
                     {"deciding", 8}});
  Json results = Json::array();
  for (const GainContest::Result& result : contest.results()) {
    table.print(std::vector<std::string>{result.name, milliseconds(result.median_s.median),
                                         fmt::format("{:.3f}", result.ratio.median), range(result.ratio),
                                         fmt::format("{:.3f}", result.imbalance),
                                         fmt::format("{}", result.settling_moves),
                                         fmt::format("{}", result.moves), percent(result.deciding_share)});
    results.push_back({{"name", result.name},
                       {"median_s", to_json(result.median_s)},
                       {"ratio", to_json(result.ratio)},
                       {"imbalance", result.imbalance},
                       {"settling_moves", result.settling_moves},
                       {"moves", result.moves},
                       {"deciding_share", result.deciding_share},
                       {"log", result.log}});
  }
  return results;
}

void print_case(const Communicator& communicator, const Backend& backend, const MigrationCase& c) {
  fmt::print(
      "{} ranks on {} node(s) ({}), {} tokens each, top {} of {} experts {} x {}, {}; {} runs of {} steps\n",
      communicator.size(), communicator.topology().num_nodes(), backend.carrier, c.tokens_per_rank,
      c.spec.router.top_k, c.spec.num_experts, c.spec.expert.hidden, c.spec.expert.intermediate,
      name_of(c.dtype), c.pairs, c.steps);
}

/// One rank's part.
void run_rank(Communicator& communicator, const Backend& backend, const Options& options, Json& results) {
  const bool is_first = communicator.rank() == Rank{0};
  if (is_first) print_case(communicator, backend, options.migration);
  if (options.measures_stall) {
    StallContest contest(communicator, backend, options.migration);
    contest.run();
    if (is_first) fmt::print("\n");
    if (is_first) results["stall"] = print_stall(contest, options, communicator.topology());
  }
  if (options.measures_gain) {
    GainContest contest(communicator, backend, options.migration);
    contest.run();
    if (is_first) fmt::print("\n");
    if (is_first) results["gain"] = print_gain(contest);
  }
  communicator.barrier();  // nobody leaves under the others' messages
}

int run(const CommandLine& line) {
  Options options = parse(line);
  Json results;
  run_pinned_ranks(program, options.ranks, 1, [&](Communicator& communicator, const Backend& backend) {
    run_rank(communicator, backend, options, results);
  });
  options.json.write(results);
  return 0;
}

}  // namespace
}  // namespace moewe::bench

int main(int argc, char** argv) {
  return moewe::bench::run_program(moewe::bench::program, argc, argv, moewe::bench::describe_options(),
                                   moewe::bench::run);
}
