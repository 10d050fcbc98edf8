// A run that hangs ends, and names the rank that holds up the others.

#include <chrono>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <random>
#include <regex>

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

/// Four processes, of which one does something to itself ($$) in the midst of its steps.
ProgramResult run_four(const TemporaryFolder& folder, int rank, const std::string& act,
                       const std::string& mpirun_options = "") {
  const TemporaryFolder session;
  return test::run_command(fmt::format(
      "TMPDIR={} {} {} -n 4 sh -c '[ $OMPI_COMM_WORLD_RANK -ne {} ] || ({}) > /dev/null 2>&1 & exec {}'",
      session.path().string(), test::mpiexec(), mpirun_options, rank, once_it_runs(folder, act),
      endless_run(folder)));
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
