#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fmt/format.h>
#include <mpi.h>

#include "benchmarks/command_line.hpp"
#include "benchmarks/harness.hpp"
#include "benchmarks/mpi_program.hpp"
#include "benchmarks/program.hpp"
#include "benchmarks/results_file.hpp"
#include "comm/error.hpp"
#include "comm/mpi/mpi_backend.hpp"
#include "runtime/moe_layer.hpp"
#include "tests/support/generated_model.hpp"

namespace moewe::bench {
namespace {

namespace po = boost::program_options;

constexpr const char* program = "step_benchmark";

struct Options {
  std::size_t experts = 0;
  std::size_t calls = 0;  ///< of a contestant in a row, in each round
  std::size_t rounds = 0;
  ResultsFile json;
};

po::options_description describe_options() {
  po::options_description options(
      "step_benchmark: what a step costs that has nothing to do: the all-reduce in which ranks agree "
      "against\n"
      "one MPI_Allreduce of as many bytes, and a whole step of a layer without tokens. Start it with "
      "mpirun.\n"
      "\nOptions");
  auto add = options.add_options();
  add("experts", text_option("N", "256"), "experts of the layer");
  add("calls", text_option("N", "200"), "calls in a row");
  add("rounds", text_option("N", "100"), "rounds of every contestant");
  return options;
}

Options parse(const CommandLine& line) {
  Options options;
  options.experts = line.number("experts", 1, 4096);
  options.calls = line.number("calls", 1, 1000000);
  options.rounds = line.number("rounds", 1, 100000);
  options.json = line.results_file();
  return options;
}

LayerSpec spec_of(const Options& options) {
  LayerSpec spec;
  spec.expert = {.hidden = 64, .intermediate = 64};
  spec.num_experts = options.experts;
  spec.router.top_k = std::min<std::size_t>(8, options.experts);
  return spec;
}

/// What is measured. Every function does its work `calls` times, on all ranks.
class Contest {
 public:
  Contest(Communicator& communicator, const Options& options)
      : communicator_(communicator.child()),
        options_(options),
        engine_(communicator, mpi_backend(), {}),
        layer_(engine_, spec_of(options), contiguous_placement(options.experts, communicator.size()),
               test::GeneratedWeights(spec_of(options), 1)),
        values_(engine_.max_counts() + StepProposal::num_appended + num_lowest + num_highest) {}

  /// The slowest rank's seconds per call.
  double time(const std::function<void()>& work) {
    communicator_->barrier();
    const double mine = seconds_of([&] {
      for (std::size_t call = 0; call < options_.calls; ++call) work();
    });
    const std::vector<double> all = all_gather_values(*communicator_, mine);
    return *std::max_element(all.begin(), all.end()) / static_cast<double>(options_.calls);
  }

  /// As agree() combines them: sums, minima and maxima.
  void all_reduce() {
    std::fill(values_.begin(), values_.end(), std::int64_t{1});
    const std::span values(values_);
    engine_.communicator().all_reduce({.sums = values.subspan(num_lowest + num_highest),
                                       .minima = values.first(num_lowest),
                                       .maxima = values.subspan(num_lowest, num_highest)});
    check(num_ranks());
  }

  void mpi_all_reduce() {
    std::fill(values_.begin(), values_.end(), std::int64_t{1});
    MPI_Allreduce(MPI_IN_PLACE, values_.data(), static_cast<int>(values_.size()), MPI_INT64_T, MPI_SUM,
                  MPI_COMM_WORLD);
    check(num_ranks());
  }

  void empty_step() { layer_.forward(TokenRows(std::span<const float>()), {}); }

  std::vector<Contestant> contestants() {
    return {{"all-reduce of an engine", [this] { return time([this] { all_reduce(); }); }},
            {"MPI_Allreduce", [this] { return time([this] { mpi_all_reduce(); }); }},
            {"MPI_Allreduce again", [this] { return time([this] { mpi_all_reduce(); }); }},
            {"empty step", [this] { return time([this] { empty_step(); }); }}};
  }

  const StepReport& report() const { return layer_.report(); }

  std::size_t bytes() const { return std::span(values_).size_bytes(); }

 private:
  static constexpr std::size_t num_lowest = 2;
  static constexpr std::size_t num_highest = 2;

  std::int64_t num_ranks() const { return static_cast<std::int64_t>(communicator_->size()); }
  void check(std::int64_t last) const { expects(values_.back() == last, "all ranks were counted"); }

  std::unique_ptr<Communicator> communicator_;
  const Options& options_;
  Engine engine_;
  MoeLayer layer_;
  std::vector<std::int64_t> values_;  // as many as ranks agree on in a step
};

std::string microseconds(double seconds) { return fmt::format("{:.2f}", seconds * 1e6); }

/// One row per contestant, each against the second, which is MPI's.
Json print(const std::vector<Contestant>& contestants, const std::vector<std::vector<double>>& times) {
  const Table table({{"slowest rank, per call", 24, false},
                     {"median us", 9},
                     {"p10-p90", 13},
                     {"least", 6},
                     {"to MPI's", 8},
                     {"p10-p90", 11}});
  Json results = Json::array();
  for (std::size_t c = 0; c < contestants.size(); ++c) {
    const Spread time = spread_of(times[c]);
    const Spread ratio = spread_of(ratios(times[c], times[1]));
    table.print(std::vector<std::string>{contestants[c].name, microseconds(time.median),
                                         fmt::format("{}-{}", microseconds(time.p10), microseconds(time.p90)),
                                         microseconds(time.least), fmt::format("{:.3f}", ratio.median),
                                         fmt::format("{:.2f}-{:.2f}", ratio.p10, ratio.p90)});
    results.push_back({{"name", contestants[c].name}, {"seconds", to_json(time)}, {"ratio", to_json(ratio)}});
  }
  return results;
}

void print_phases(const StepReport& report) {
  fmt::print("\nthe last empty step of rank 0:");
  for (std::size_t phase = 0; phase < num_phases; ++phase) {
    fmt::print(" {} {} us{}", phase_names[phase], microseconds(report.seconds[phase]),
               phase + 1 < num_phases ? "," : "\n");
  }
}

void run_rank(Communicator& communicator, Options& options) {
  Contest contest(communicator, options);
  const std::vector<Contestant> contestants = contest.contestants();
  const auto times =
      alternate(contestants, {.least_rounds = options.rounds, .most_rounds = options.rounds, .seconds = 0});
  if (communicator.rank() != Rank{0}) return;
  fmt::print("{} ranks, {} calls in a row, {} rounds; all-reduce of {} bytes, layer of {} experts\n\n",
             communicator.size(), options.calls, options.rounds, contest.bytes(), options.experts);
  const Json results = print(contestants, times);
  print_phases(contest.report());
  options.json.write({{"ranks", communicator.size()}, {"results", results}});
}

/// Ranks cannot wait for one that failed: all end.
int run(const CommandLine& line) {
  Options options = parse(line);
  return run_mpi_rank(program, false, [&](Communicator& communicator) { run_rank(communicator, options); });
}

}  // namespace
}  // namespace moewe::bench

int main(int argc, char** argv) {
  return moewe::bench::run_program(moewe::bench::program, argc, argv, moewe::bench::describe_options(),
                                   moewe::bench::run);
}
