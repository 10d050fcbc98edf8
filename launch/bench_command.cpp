#include "launch/bench_command.hpp"

#include <algorithm>
#include <exception>
#include <fmt/format.h>
#include <optional>

#include "comm/together.hpp"
#include "launch/bench_cases.hpp"
#include "launch/bench_options.hpp"
#include "launch/environment.hpp"
#include "launch/shared_options.hpp"
#include "runtime/atomic_file.hpp"

namespace moewe {
namespace {

/// What is written once all is known; begun before, so that what cannot be written is said at once.
class BenchFiles {
 public:
  explicit BenchFiles(const BenchOptions& options) {
    if (options.json) json_.emplace(*options.json);
    if (options.csv) csv_.emplace(*options.csv);
    if (options.matrix) matrix_.emplace(*options.matrix);
  }

  void write(const std::vector<BenchCase>& cases) {
    write(json_, [&] { return bench_json(cases); });
    write(csv_, [&] { return bench_csv(cases); });
    write(matrix_, [&] { return bench_matrix(cases.back()); });
  }

 private:
  template <typename MakeText>
  static void write(std::optional<AtomicFile>& file, MakeText&& make_text) {
    if (!file) return;
    const std::string text = make_text();
    file->append(std::as_bytes(std::span(text)));
    file->commit();
  }

  std::optional<AtomicFile> json_;
  std::optional<AtomicFile> csv_;
  std::optional<AtomicFile> matrix_;
};

/// Collective.
void run_rank(Communicator& communicator, const Backend& backend, const BenchOptions& options) {
  require_same_options(communicator, options.shared_settings());
  std::optional<BenchFiles> files;
  const bool is_first = communicator.rank() == Rank{0};
  together(communicator, [&] {
    if (is_first) files.emplace(options);
  });
  const auto cases = run_bench_cases(communicator, backend, options,
                                     [](const BenchCase& c) { print_text(bench_text(c) + "\n"); });
  together(communicator, [&] {
    if (is_first) files->write(cases);
  });
  if (std::all_of(cases.begin(), cases.end(), [](const BenchCase& c) { return c.is_correct(); })) return;
  throw Error(ErrorKind::verification, "an exchange gave wrong results; see the table", ErrorScope::shared);
}

}  // namespace

int bench_command(const std::vector<std::string>& arguments) {
  BenchOptions options;
  std::exception_ptr bad_options;
  try {
    if (arguments.empty() ||
        (arguments[0] != "exchange" && arguments[0] != "--help" && arguments[0] != "-h")) {
      throw InvalidInput("bench needs the name of a benchmark: exchange; see moewe bench exchange --help");
    }
    const bool is_named = arguments[0] == "exchange";
    options = parse_bench_options({arguments.begin() + (is_named ? 1 : 0), arguments.end()});
  } catch (const InvalidInput&) {
    bad_options = std::current_exception();
  }
  if (options.help) {
    if (is_first_process()) print_text(bench_help());
    return static_cast<int>(ExitCode::done);
  }
  return run_job(options.ranks, options.timeout_s, [&](Communicator& communicator, const Backend& backend) {
    throw_together(communicator, bad_options);
    run_rank(communicator, backend, options);
  });
}

}  // namespace moewe
