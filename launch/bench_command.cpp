#include "launch/bench_command.hpp"

#include <algorithm>
#include <array>
#include <exception>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <optional>

#include "comm/together.hpp"
#include "launch/bench_cases.hpp"
#include "launch/bench_options.hpp"
#include "launch/bench_overlap.hpp"
#include "launch/commit_text.hpp"
#include "launch/console.hpp"
#include "launch/environment.hpp"
#include "launch/exit_code.hpp"
#include "launch/launcher.hpp"
#include "launch/run_position.hpp"
#include "launch/shared_options.hpp"
#include "runtime/atomic_file.hpp"

namespace moewe {
namespace {

template <typename MakeText>
void write_file(std::optional<AtomicFile>& file, MakeText&& make_text) {
  if (!file) return;
  commit_text(*file, make_text());
}

/// What is written once all is known; begun before, so that what cannot be written is said at once.
class BenchFiles {
 public:
  explicit BenchFiles(const BenchOptions& options) {
    if (options.json) json_.emplace(*options.json);
    if (options.csv) csv_.emplace(*options.csv);
    if (options.matrix) matrix_.emplace(*options.matrix);
  }

  void write(const std::vector<BenchCase>& cases) {
    write_file(json_, [&] { return bench_json(cases); });
    write_file(csv_, [&] { return bench_csv(cases); });
    write_file(matrix_, [&] { return bench_matrix(cases.back()); });
  }

 private:
  std::optional<AtomicFile> json_;
  std::optional<AtomicFile> csv_;
  std::optional<AtomicFile> matrix_;
};

class OverlapFiles {
 public:
  explicit OverlapFiles(const OverlapBenchOptions& options) {
    if (options.json) json_.emplace(*options.json);
  }

  void write(const std::vector<OverlapCase>& cases) {
    write_file(json_, [&] { return overlap_json(cases); });
  }

 private:
  std::optional<AtomicFile> json_;
};

/// Collective. Throws a shared Error(verification) where not all of `cases` are correct.
template <typename Case>
void require_correct(const std::vector<Case>& cases) {
  if (std::all_of(cases.begin(), cases.end(), [](const Case& c) { return c.is_correct(); })) return;
  throw Error(ErrorKind::verification, "a contestant gave wrong results; see the table", ErrorScope::shared);
}

/// Collective: rank 0 begins its files, `run()` gives the cases, and rank 0 writes them.
template <typename Files, typename Options, typename Run>
void run_with_files(Communicator& communicator, const Options& options, Run&& run) {
  RunPosition(communicator.waiter().watch()).enter("bench");
  require_same_options(communicator, options.shared_settings());
  std::optional<Files> files;
  const bool is_first = communicator.rank() == Rank{0};
  together(communicator, [&] {
    if (is_first) files.emplace(options);
  });
  const auto cases = run();
  together(communicator, [&] {
    if (is_first) files->write(cases);
  });
  require_correct(cases);
}

/// Collective.
void run_rank(Communicator& communicator, const Backend& backend, const BenchOptions& options) {
  run_with_files<BenchFiles>(communicator, options, [&] {
    return run_bench_cases(communicator, backend, options,
                           [](const BenchCase& c) { print_text(bench_text(c) + "\n"); });
  });
}

void run_rank(Communicator& communicator, const Backend& backend, const OverlapBenchOptions& options) {
  run_with_files<OverlapFiles>(communicator, options, [&] {
    return run_overlap_cases(communicator, backend, options,
                             [](const OverlapCase& c) { print_text(overlap_text(c) + "\n"); });
  });
}

/// Parses, and does what was asked for. What is wrong with the arguments is said once, by all ranks alike.
template <typename Parse>
int run_benchmark(Parse&& parse, const std::string& help) {
  decltype(parse()) options;
  std::exception_ptr bad_options;
  try {
    options = parse();
  } catch (const InvalidInput&) {
    bad_options = std::current_exception();
  }
  if (options.help) {
    if (is_first_process()) print_text(help);
    return static_cast<int>(ExitCode::done);
  }
  return run_job(options.ranks, options.timeout_s, [&](Communicator& communicator, const Backend& backend) {
    throw_together(communicator, bad_options);
    run_rank(communicator, backend, options);
  });
}

struct Benchmark {
  const char* name;
  const char* summary;
  int (*run)(const std::vector<std::string>& arguments);
};

constexpr std::array<Benchmark, 2> benchmarks{{
    {"exchange", "the token exchange beside its limit and its usual cost",
     [](const std::vector<std::string>& arguments) {
       return run_benchmark([&] { return parse_bench_options(arguments); }, bench_help());
     }},
    {"overlap", "what is gained by computing while rows travel",
     [](const std::vector<std::string>& arguments) {
       return run_benchmark([&] { return parse_overlap_bench_options(arguments); }, overlap_bench_help());
     }},
}};

int print_help() {
  std::string text = "moewe bench: measurements beside their limits and baselines\n\n";
  for (const Benchmark& one : benchmarks) text += fmt::format("  {:10}{}\n", one.name, one.summary);
  if (is_first_process()) print_text(text + "\nmoewe bench NAME --help tells about one.\n");
  return static_cast<int>(ExitCode::done);
}

BenchOptions reject_name() {
  std::vector<const char*> names;
  for (const Benchmark& one : benchmarks) names.push_back(one.name);
  throw InvalidInput(
      fmt::format("bench needs the name of a benchmark: {}; see moewe bench --help", fmt::join(names, ", ")));
}

}  // namespace

int bench_command(const std::vector<std::string>& arguments) {
  const std::string name = arguments.empty() ? "" : arguments.front();
  if (name == "--help" || name == "-h") return print_help();
  const auto found = std::find_if(benchmarks.begin(), benchmarks.end(),
                                  [&](const Benchmark& one) { return one.name == name; });
  if (found == benchmarks.end()) return run_benchmark(reject_name, "");
  return found->run({arguments.begin() + 1, arguments.end()});
}

}  // namespace moewe
