// A run that is interrupted keeps its complete steps, and another goes on from them to the same results.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <random>

#include "tests/support/program.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/tensor_files.hpp"

namespace moewe {
namespace {

namespace fs = std::filesystem;
using test::own_lines;
using test::processes;
using test::ProgramResult;
using test::Ranks;
using test::shipped;
using test::TemporaryFolder;
using test::threads;

constexpr int tokens_of_step = 100;

/// Enough for a run to take about a second: a signal is to strike in its midst, and ranks that lose their
/// mpirun notice it only after a while.
int num_steps() {
  static const int steps = [] {
    constexpr int sample = 60, most = 4000;
    const std::string run = fmt::format("{} --tokens {} --steps {}", shipped().run(), tokens_of_step, sample);
    const double tokens_per_s = test::results_of(threads(2), run)["throughput"]["tokens_per_s"];
    return std::clamp(static_cast<int>(tokens_per_s / tokens_of_step), sample, most);
  }();
  return steps;
}

/// Seconds, up to the most.
double any_time(double most) {
  static std::random_device source;
  return std::uniform_real_distribution(0.0, most)(source);
}

/// A run with an output in a folder of its own.
struct Job {
  const TemporaryFolder& folder;
  Ranks ranks;
  std::string options = fmt::format("{} --tokens {} --steps {} --capacity-factor 1.1 --overflow next-choice",
                                    shipped().run(), tokens_of_step, num_steps());

  fs::path output() const { return folder / "output"; }
  fs::path kept() const { return folder / "output.kept"; }
  std::string arguments() const { return fmt::format("{} --output {}", options, output().string()); }

  /// As a shell begins it.
  std::string command(const std::string& more) const {
    const std::string alone = fmt::format("{} {} {}", test::program(), arguments(), more);
    return ranks.are_processes ? fmt::format("{} -n {} {}", test::mpiexec(), ranks.count, alone)
                               : fmt::format("{} --ranks {}", alone, ranks.count);
  }
};

/// Until the file is there, and then any time.
std::string once_kept(const Job& run, double most_s) {
  return fmt::format("while [ ! -e {} ]; do sleep 0.01; done; sleep {:.3f}", run.kept().string(),
                     any_time(most_s));
}

/// Ranks that lose their mpirun end a little later. A name for flock: it would create a file.
void wait_until_given_up(const Job& run) {
  test::run_command(
      fmt::format("{{ for i in $(seq 600); do [ ! -e {0} ] || flock -n 9 9< {0} && break; sleep 0.05; done; "
                  "}} 2> /dev/null",
                  run.kept().string()));
}

/// Runs until a signal comes, which it does at most these seconds after something is kept.
ProgramResult interrupt_within(const Job& run, const std::string& signal, const std::string& more,
                               double most_s) {
  const TemporaryFolder session;
  return test::run_command(fmt::format("{{ export TMPDIR={}; {} & pid=$!; {}; kill -{} $pid; wait $pid; }}",
                                       session.path().string(), run.command(more), once_kept(run, most_s),
                                       signal));
}

/// Runs under mpirun until one of its ranks kills itself, as late.
ProgramResult lose_rank_within(const Job& run, int rank, const std::string& more, double most_s) {
  const TemporaryFolder session;
  return test::run_command(
      fmt::format("TMPDIR={} {} -n {} sh -c '[ $OMPI_COMM_WORLD_RANK -ne {} ] || ({}; "
                  "kill -KILL $$) > /dev/null 2>&1 & exec {} {} {}'",
                  session.path().string(), test::mpiexec(), run.ranks.count, rank, once_kept(run, most_s),
                  test::program(), run.arguments(), more));
}

/// What was kept before a run, if anything, so that the run can be begun again from the same state.
class KeptBefore {
 public:
  explicit KeptBefore(const Job& run) : run_(run), was_there_(fs::exists(run.kept())) {
    if (was_there_) bytes_ = test::read_file(run.kept());
  }

  void restore() const {
    fs::remove(run_.output());
    fs::remove(run_.kept());
    if (was_there_) test::write_bytes(run_.kept(), bytes_);
  }

 private:
  const Job& run_;
  bool was_there_;
  std::string bytes_;
};

/// Calls interrupted(most_s) until it strikes before the run has ended, which it may not on a busy machine.
template <typename Interrupted>
ProgramResult strike(const Job& run, Interrupted interrupted) {
  const KeptBefore before(run);
  for (double most_s = 0.15;; most_s /= 2) {
    const ProgramResult result = interrupted(most_s);
    wait_until_given_up(run);
    if (!fs::exists(run.output()) || most_s < 0.001) return result;
    before.restore();
  }
}

ProgramResult interrupt(const Job& run, const std::string& signal, const std::string& more = "") {
  return strike(run, [&](double most_s) { return interrupt_within(run, signal, more, most_s); });
}

ProgramResult lose_rank(const Job& run, int rank, const std::string& more = "") {
  return strike(run, [&](double most_s) { return lose_rank_within(run, rank, more, most_s); });
}

/// What an uninterrupted run ends with.
struct Results {
  std::string output;
  std::string hash;
  std::string ledger;

  bool operator==(const Results&) const = default;
};

Results results_of(const Job& run, const std::string& more = "") {
  const nlohmann::json json = test::results_of(run.ranks, run.arguments() + " " + more);
  nlohmann::json ledger = json["ledger"];
  ledger.erase("computed_per_rank");  // of the steps since
  ledger.erase("computed_before");
  ledger["overflow"] = json["overflow"];
  ledger["compared"] = json["verify"]["compared_rows"];
  return {test::read_file(run.output()), json["output_sha256"], ledger.dump()};
}

Results expected_results(const std::string& options) {
  const TemporaryFolder folder;
  return results_of({folder, threads(2), options});
}

const Results& usual_results() {
  static const TemporaryFolder folder;
  static const Results results = results_of({folder, threads(2)});
  return results;
}

void expect_kept(const Job& run, const ProgramResult& result) {
  EXPECT_NE(result.exit_code, 0) << result.output;
  EXPECT_TRUE(fs::exists(run.kept())) << result.output;
  EXPECT_FALSE(fs::exists(run.output())) << result.output;
}

/// The same results as of a run that was never interrupted, and nothing else is left.
void expect_resumes(const Job& run, const Results& expected = usual_results()) {
  EXPECT_EQ(results_of(run, "--resume"), expected);
  EXPECT_FALSE(fs::exists(run.kept()));
}

TEST(Resume, AfterASignalEndsWithTheSameResults) {
  for (const Ranks ranks : {threads(1), threads(3), processes(2)}) {
    for (const std::string signal : {"TERM", "KILL"}) {
      const TemporaryFolder folder;
      const Job run{folder, ranks};
      const ProgramResult result = interrupt(run, signal);
      expect_kept(run, result);
      if (signal == "TERM") {
        ASSERT_GE(own_lines(result).size(), 1U) << result.output;
        EXPECT_NE(result.output.find(
                      fmt::format(" of {} steps are kept in {}; ", num_steps(), run.kept().string())),
                  std::string::npos)
            << result.output;
      }
      expect_resumes(run);
    }
  }
}

/// The number of the latest state in a file that KeptFile has written.
std::uint64_t number_kept(const fs::path& file) {
  constexpr std::size_t place = 40;
  std::uint64_t number = 0;
  const std::string bytes = test::read_file(file);
  if (bytes.size() >= place + sizeof number) std::memcpy(&number, bytes.data() + place, sizeof number);
  return number;
}

/// Steps take so long that the signal comes within one.
TEST(Resume, AfterSigtermToOneRankAllEndAfterTheStepUnderWay) {
  const std::string options =
      "run --model custom --hidden 64 --intermediate 64 --experts 8 --topk 2 --layers 0 --tokens 60000 "
      "--steps 5";
  const TemporaryFolder folder, session;
  const Job run{folder, processes(2), options};
  const ProgramResult result = test::run_command(
      fmt::format("TMPDIR={} {} --mca odls_base_sigkill_timeout 2 -n 2 sh -c '[ $OMPI_COMM_WORLD_RANK -ne 1 "
                  "] || ({}; cp {} {}; "
                  "kill -TERM $$) > /dev/null 2>&1 & exec {} {}'",
                  session.path().string(), test::mpiexec(), once_kept(run, 0), run.kept().string(),
                  (folder / "at_signal").string(), test::program(), run.arguments()));
  expect_kept(run, result);
  const std::uint64_t number = number_kept(run.kept());
  EXPECT_GT(number, number_kept(folder / "at_signal")) << result.output;
  EXPECT_NE(
      result.output.find(fmt::format("moewe: {} of 5 steps are kept in {}; ", number, run.kept().string())),
      std::string::npos)
      << result.output;
  expect_resumes(run, expected_results(options));
}

/// The others are in a step that never ends when mpirun sends them SIGTERM.
TEST(Resume, AfterALostRankEndsWithTheSameResults) {
  for (int rank = 0; rank < 3; ++rank) {
    const TemporaryFolder folder;
    const Job run{folder, processes(3)};
    expect_kept(run, lose_rank(run, rank));
    expect_resumes(run);
  }
}

TEST(Resume, MayBeInterruptedAgainAndByOtherRanks) {
  const TemporaryFolder folder;
  const Job run{folder, processes(3)};
  expect_kept(run, interrupt(run, "TERM"));
  expect_kept(run, lose_rank(run, 1, "--resume"));
  const Job later{folder, threads(2)};
  expect_kept(later, interrupt(later, "KILL", "--resume"));
  expect_resumes({folder, threads(4)});
}

TEST(Resume, ComparesWithTheReferenceOverAllSteps) {
  const std::string options = fmt::format("{} --steps {}", shipped().run_recorded(), num_steps() / 4);
  const TemporaryFolder folder;
  const Job run{folder, threads(2), options};
  expect_kept(run, interrupt(run, "TERM"));
  expect_resumes(run, expected_results(options));
}

TEST(Resume, BeginsWithTheFirstStepWhereNothingIsKept) {
  const TemporaryFolder folder;
  const Job run{folder, threads(2)};
  expect_resumes(run);
  expect_resumes(run);  // nothing is kept of what is done
}

TEST(Resume, OfAnotherRunIsRefused) {
  const TemporaryFolder folder;
  const Job run{folder, threads(2)};
  expect_kept(run, interrupt(run, "TERM"));
  const std::string before = test::read_file(run.kept());
  const std::string begin = shipped().run() + " --tokens 100";
  const std::string end = " --capacity-factor 1.1 --overflow next-choice";
  const std::string steps = fmt::format(" --steps {}", num_steps());
  const auto with = [&](const std::string& options, const std::string& part) {
    return test::Refusal{Job{folder, threads(1), options}.arguments() + " --resume", part};
  };
  test::expect_refusals({
      with(run.options + " --seed 5", "--seed 0, and this one has --seed 5"),
      with(run.options + " --dtype bf16", "--dtype f32, and this one has --dtype bf16"),
      with(run.options + " --layers 1", "--layers 0,1, and this one has --layers 1"),
      with(run.options + " --combine fast", "--combine reproducible, and this one has --combine fast"),
      with(begin + " --steps 9" + end, fmt::format("--steps {}, and this one has --steps 9", num_steps())),
      with(begin + steps, "--capacity-factor (none)"),
      with(shipped().run() + " --tokens 101" + steps + end, "100 tokens per step, and"),
      with(begin + steps + " --capacity-factor 1.1 --routing uniform", "--overflow next-choice, and"),
      with(shipped().run_recorded() + " --tokens 100" + steps + end, "generated tokens, and"),
      {run.options + " --resume", "--resume needs --output FILE"},
      {run.options + " --resume --output /dev/null", "--resume needs an --output that is a regular file"},
  });
  EXPECT_EQ(test::read_file(run.kept()), before);
  expect_resumes(run);
}

/// Headers are the same: only the outputs tell.
TEST(Resume, OfAnotherModelIsRefused) {
  const TemporaryFolder folder, results;
  const test::Sample copy{folder.path(), 2, 512, 8, 2};
  test::copy_checkpoint(shipped().folder, copy.folder);
  const Job run{results, threads(2), fmt::format("{} --steps {}", copy.run_recorded(), num_steps())};
  expect_kept(run, interrupt(run, "TERM"));
  std::string weights = test::read_file(copy.folder / "model.safetensors");
  for (std::size_t i = weights.size() - 4096; i < weights.size(); ++i) weights[i] = 0x3C;
  test::write_bytes(copy.folder / "model.safetensors", weights);
  const ProgramResult result = test::run_command(run.command("--resume"));
  EXPECT_EQ(result.exit_code, 2) << result.output;
  ASSERT_GE(own_lines(result).size(), 1U) << result.output;
  EXPECT_NE(own_lines(result)[0].find("has other results now"), std::string::npos) << result.output;
  EXPECT_TRUE(fs::exists(run.kept()));
}

TEST(Resume, OfWhatIsDamagedIsRefused) {
  const TemporaryFolder folder;
  const Job run{folder, threads(2)};
  expect_kept(run, interrupt(run, "TERM"));
  const std::string whole = test::read_file(run.kept());
  std::string changed = whole;
  for (char& byte : changed) byte = static_cast<char>(byte ^ (&byte >= changed.data() + 600 ? 1 : 0));
  for (const std::string& damaged : {whole.substr(0, whole.size() / 2), whole.substr(0, 20), changed}) {
    test::write_bytes(run.kept(), damaged);
    const ProgramResult result = test::run_command(run.command("--resume"));
    EXPECT_EQ(result.exit_code, 2) << result.output;
    ASSERT_EQ(own_lines(result).size(), 1U) << result.output;
    EXPECT_NE(own_lines(result)[0].find("output.kept: is damaged"), std::string::npos) << result.output;
  }
  test::write_bytes(run.kept(), "mine");
  test::expect_refusals({{run.arguments(), "output.kept: has the name"}});
  EXPECT_EQ(test::read_file(run.kept()), "mine");
}

TEST(Resume, IsNotNeededAfterARunWithoutAnOutput) {
  const TemporaryFolder folder;
  const ProgramResult result = test::run_command(fmt::format(
      "{{ cd {}; {} {} --tokens 10 --steps 3; }}", folder.path().string(), test::program(), shipped().run()));
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

}  // namespace
}  // namespace moewe
