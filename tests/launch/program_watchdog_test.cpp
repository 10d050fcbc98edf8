// A run that hangs ends, and names the rank that holds up the others.

#include <chrono>
#include <fmt/format.h>
#include <functional>
#include <gtest/gtest.h>
#include <random>
#include <regex>
#include <stdexcept>

#include "tests/support/program.hpp"
#include "tests/support/temporary_folder.hpp"

namespace moewe {
namespace {

using test::interposer;
using test::ProgramResult;
using test::shipped;
using test::TemporaryFolder;

constexpr double timeout_s = 2;

// What mpirun takes to end a job with a stopped rank, and what a loaded machine adds.
constexpr double margin_s = 8;

/// A run without an end, and what is done once it has begun to write to `folder`, which is before its first
/// step.
std::string endless_run(const TemporaryFolder& folder) {
  return fmt::format("{} {} --steps 100000000 --timeout {} --output {}/output", test::program(),
                     shipped().run_recorded(), timeout_s, folder.path().string());
}

std::string once_it_runs(const TemporaryFolder& folder, const std::string& act) {
  return fmt::format(
      "while [ -z \"$(ls -A {0})\" ]; do sleep 0.05; done; sleep 0.5; date +%s.%N > {0}/time; {1}",
      folder.path().string(), act);
}

/// Seconds from then until now.
double since_it_was_done(const TemporaryFolder& folder) {
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  return now.count() - std::stod(test::read_file(folder / "time"));
}

/// Four processes, of which one executes something first, beside itself ($$).
ProgramResult run_four_beside(int rank, const std::string& act, const std::string& run,
                              const std::string& mpirun_options) {
  const TemporaryFolder session;
  return test::run_command(fmt::format(
      "TMPDIR={} {} {} -n 4 sh -c '[ $OMPI_COMM_WORLD_RANK -ne {} ] || ({}) > /dev/null 2>&1 & exec {}'",
      session.path().string(), test::mpiexec(), mpirun_options, rank, act, run));
}

/// Four processes, of which one does something to itself ($$) in the midst of its steps.
ProgramResult run_four(const TemporaryFolder& folder, int rank, const std::string& act,
                       const std::string& mpirun_options = "") {
  return run_four_beside(rank, once_it_runs(folder, act), endless_run(folder), mpirun_options);
}

int any_rank() {
  std::random_device source;
  return std::uniform_int_distribution(0, 3)(source);
}

std::size_t count(const std::string& text, const std::regex& part) {
  return static_cast<std::size_t>(
      std::distance(std::sregex_iterator(text.begin(), text.end(), part), std::sregex_iterator()));
}

const std::string position = "step [0-9]+, layer [01], phase [a-z]+, ";

void expect_culprit(const ProgramResult& result, int rank, const std::string& reason) {
  EXPECT_EQ(count(result.output, std::regex("culprit: ")), 1U) << result.output;
  EXPECT_EQ(count(result.output, std::regex(fmt::format("culprit: rank {} on [^ \n]+: {}\n", rank, reason))),
            1U)
      << result.output;
}

TEST(Hang, OfAStoppedRankEndsWithItsName) {
  const TemporaryFolder folder;
  const int rank = any_rank();
  const ProgramResult result = run_four(folder, rank, "kill -STOP $$");
  EXPECT_EQ(result.exit_code, 3) << result.output;
  EXPECT_LT(since_it_was_done(folder), timeout_s + 1 + margin_s) << result.output;
  expect_culprit(result, rank, "stopped");
  EXPECT_EQ(
      count(result.output, std::regex(fmt::format("\n *rank {} on [^ ]+ +stopped +{}", rank, position))), 1U)
      << result.output;
  for (int other = 0; other < 4; ++other) {
    const std::regex line(fmt::format("moewe: rank {} on [^ ]+: {}waits for ", other, position));
    EXPECT_EQ(count(result.output, line), other == rank ? 0U : 1U) << other << "\n" << result.output;
  }
}

TEST(Hang, OfAKilledRankEndsWithItsName) {
  const TemporaryFolder folder;
  const int rank = any_rank();
  const ProgramResult result = run_four(folder, rank, "kill -KILL $$");
  EXPECT_NE(result.exit_code, 0) << result.output;
  EXPECT_LT(since_it_was_done(folder), timeout_s + 1 + margin_s) << result.output;
  EXPECT_NE(result.output.find(fmt::format("process rank {}", rank)), std::string::npos) << result.output;
  EXPECT_FALSE(std::filesystem::exists(folder / "output"));
}

/// Told not to mind, mpirun takes no job for failed.
TEST(Hang, OfARankThatMpirunDoesNotMissEndsWithItsName) {
  const TemporaryFolder folder;
  const int rank = any_rank();
  const ProgramResult result = run_four(folder, rank, "kill -KILL $$", "--enable-recovery");
  EXPECT_LT(since_it_was_done(folder), timeout_s + 1 + margin_s) << result.output;
  expect_culprit(result, rank, "dead");
}

// Of experts that move

/// A run in which the first expert that moves is under way for longer than the steps last: it takes a chunk
/// of 4 KiB in a step.
constexpr int num_steps = 700, steps_of_move = 3 * 256 * 1024 * 4 / 4096;
static_assert(num_steps < steps_of_move);

std::string still_run(int steps) {
  return fmt::format(
      "run --model custom --hidden 256 --intermediate 1024 --experts 8 --topk 2 --tokens 16 --routing "
      "lognormal:1 --seed 2 --timeout {} --steps {}",
      timeout_s, steps);
}

std::string moving_run(int steps) {
  return still_run(steps) + " --rebalance every:1 --migration-budget 4096";
}

/// The number behind some words.
int number_after(const std::string& text, const std::string& words) {
  const std::size_t at = text.find(words);
  if (at == std::string::npos) throw std::runtime_error("no '" + words + "' in: " + text);
  return std::stoi(text.substr(at + words.size()));
}

/// The step of the first decision to move, which is the same in every such run.
int step_of_decision() {
  const nlohmann::json migration = results_of(test::threads(4), moving_run(20))["migration"];
  EXPECT_GE(migration["moves"], 1);
  return number_after(migration["log"].at(0), "step ");
}

/// Kills a rank once some steps are kept. `expect_end` looks at what the job said, and another run is then to
/// go on to the results of one in which nothing moves and nobody is killed.
void kill_while_moving(const std::string& mpirun_options,
                       const std::function<void(const ProgramResult&, int rank)>& expect_end) {
  static const std::string expected = "sha256      " + hash_of(test::threads(1), still_run(num_steps));
  const TemporaryFolder folder;
  const std::string output = (folder / "output").string(), kept = output + ".kept";
  const int rank = any_rank();
  const std::string act =
      fmt::format("while [ ! -e {0} ]; do sleep 0.01; done; sleep 0.2; date +%s.%N > {1}/time; kill -KILL $$",
                  kept, folder.path().string());
  const std::string run = fmt::format("{} --output {}", moving_run(num_steps), output);
  const ProgramResult killed = run_four_beside(rank, act, test::program() + " " + run, mpirun_options);
  EXPECT_LT(since_it_was_done(folder), timeout_s + 1 + margin_s) << killed.output;
  expect_end(killed, rank);
  EXPECT_FALSE(std::filesystem::exists(output));
  test::run_command(
      fmt::format("for i in $(seq 600); do flock -n {0} true && break; sleep 0.05; done", kept));
  const ProgramResult resumed = run_moewe(test::processes(4), run + " --resume");
  EXPECT_EQ(resumed.exit_code, 0) << resumed.output;
  EXPECT_NE(resumed.output.find(expected), std::string::npos) << resumed.output;
  EXPECT_GT(number_after(resumed.output, "goes on after step "), step_of_decision() + 1) << "was it moving?";
}

TEST(Hang, OfARankThatIsKilledWhileExpertsMoveEndsWithItsName) {
  kill_while_moving("", [](const ProgramResult& result, int rank) {
    EXPECT_NE(result.exit_code, 0) << result.output;
    EXPECT_NE(result.output.find(fmt::format("process rank {}", rank)), std::string::npos) << result.output;
  });
}

TEST(Hang, OfARankThatMpirunDoesNotMissWhileExpertsMoveEndsWithItsName) {
  kill_while_moving("--enable-recovery",
                    [](const ProgramResult& result, int rank) { expect_culprit(result, rank, "dead"); });
}

TEST(Hang, OfASlowRankEndsWithItsName) {
  if (interposer().empty()) GTEST_SKIP() << "a sanitizer's runtime has to be loaded first";
  const ProgramResult result =
      run_moewe(test::processes(3),
                shipped().run_recorded() + " --path message --calibrate off --steps 1000000 --timeout 2",
                interposer() + " MOEWE_TEST_SLEEP_RANK=1 MOEWE_TEST_SLEEP_CALL=200");
  EXPECT_EQ(result.exit_code, 3) << result.output;
  expect_culprit(result, 1, "slow");
  EXPECT_EQ(count(result.output, std::regex("moewe: rank 1 on [^ ]+: " + position + "computes\n")), 1U)
      << result.output;
}

/// Ended by us, and in time.
void expect_given_up(const ProgramResult& result, const std::string& why) {
  EXPECT_EQ(result.exit_code, 3) << result.output;
  EXPECT_LT(result.seconds, timeout_s + 1 + margin_s) << result.output;
  const std::regex line(fmt::format("moewe: rank 0 on [^ ]+ has waited for {:g} s: {}\n", timeout_s, why));
  EXPECT_EQ(count(result.output, line), 1U) << result.output;
}

TEST(Hang, OfARankThatNeverStartsMpiEnds) {
  const TemporaryFolder session;
  expect_given_up(test::run_command(fmt::format("TMPDIR={} {} -n 1 {} {} --timeout {} : -n 1 sleep 60",
                                                session.path().string(), test::mpiexec(), test::program(),
                                                shipped().run_recorded(), timeout_s)),
                  "the other ranks have not all started MPI");
}

TEST(Hang, OfARankThatDoesNotEndMpiEnds) {
  if (interposer().empty()) GTEST_SKIP() << "a sanitizer's runtime has to be loaded first";
  expect_given_up(run_moewe(test::processes(2), shipped().run_recorded() + " --timeout 2",
                            interposer() + " MOEWE_TEST_LINGER_RANK=1"),
                  "the other ranks have not all ended MPI");
}

TEST(StateSignal, IsAnsweredAndTheRunGoesOn) {
  const std::string run = shipped().run_recorded() + " --steps 250 ";
  const std::string expected = "sha256      " + hash_of(test::threads(1), run);
  const std::string mpirun = test::mpiexec() + " -n 2 " + test::program() + " ";
  for (const std::string& start : {test::program() + " " + run + "--ranks 2", mpirun + run}) {
    const TemporaryFolder folder;
    const ProgramResult result =
        test::run_command(fmt::format("{{ {} --output {}/output & pid=$!; {}; wait $pid; }}", start,
                                      folder.path().string(), once_it_runs(folder, "kill -USR1 $pid")));
    EXPECT_EQ(result.exit_code, 0) << result.output;
    EXPECT_NE(result.output.find(expected), std::string::npos) << result.output;
    for (int rank = 0; rank < 2; ++rank) {
      const std::regex line(fmt::format("moewe: rank {} on [^ ]+: {}(computes|waits for )", rank, position));
      EXPECT_EQ(count(result.output, line), 1U) << result.output;
    }
    EXPECT_EQ(count(result.output, std::regex("moewe: the ranks on [^ ]+:\n")), 1U) << result.output;
    EXPECT_EQ(count(result.output, std::regex("culprit")), 0U) << result.output;
  }
}

}  // namespace
}  // namespace moewe
